# VLIF on Rain200H, as the paper's text describes it, on a GPU with 4 GB.
#
# reproduces  paper, table 1, Rain200H: PSNR 28.63 dB, SSIM 0.8935, as vlif_rain200h.py does, with the same
#             300000 steps of the optimiser on the same batches of 12 images, each in 6 parts of 2
# command     python -m vlif_plugin.mm_train options/mmengine/vlif_rain200h_small_gpu.py
#             python -m vlif_plugin.mm_test options/mmengine/vlif_rain200h_small_gpu.py CHECKPOINT
# data        vlif prepare Rain200H --source WHERE_YOU_UNPACKED_IT makes
#             datasets/Rain200H/{train,test}/{input,target}.lmdb, 1800 and 200 pairs. Folders of images
#             work as well: name them in dataroot_lq and dataroot_gt. See datasets/README.md
# needs       a GPU with 4 GB that computes in bfloat16 (of NVIDIA's, Ampere and later)
# iterations  mmengine counts parts: six of its iterations are one step of the optimiser. Whatever is given
#             in iterations is six times what vlif_rain200h.py has, in the log and in names of files too
# differs     bfloat16 where it is safe (membranes, losses and weights stay in float32; validation and
#             tests compute in float32); BatchNorm sees 2 images at a time in place of 12; validation,
#             tests and checkpoints have averaged weights

_base_ = ["vlif_rain200h.py"]

train_dataloader = dict(batch_size=2)  # ours
optim_wrapper = dict(
    type="AmpOptimWrapper",
    dtype="bfloat16",  # ours
    loss_scale=dict(enabled=False),  # ours: bfloat16 reaches as far as float32
    accumulative_counts=6,  # ours
)
custom_hooks = [
    *_base_.custom_hooks,
    dict(
        type="EMAHook",
        ema_type="ExponentialMovingAverage",
        momentum=0.001,  # ours: BasicSR's ema_decay of 0.999
        begin_iter=6,  # ours: first after the first step of the optimiser,
        interval=6,  # ours: and then after each
        update_buffers=True,  # averaged weights get BatchNorm statistics of their own, from the last 50 batches
    ),
]

train_cfg = dict(max_iters=1_800_000, val_interval=30_000)
param_scheduler = [
    dict(type="LinearLR", start_factor=1 / 2700, by_epoch=False, end=2700),
    dict(
        type="CosineAnnealingLR",
        eta_min=1e-7,  # reference train.py
        by_epoch=False,
        begin=5,  # the first step of the optimiser has the cosine's first value, and so on
        T_max=1_800_000,
    ),
]
default_hooks = dict(logger=dict(interval=600), checkpoint=dict(interval=30_000))
