# Demo: a small VLIF network learns in minutes, on the CPU, to take synthetic rain off photographs.
#
# reproduces  nothing of the paper: it is the training of options/demo_vlif.yml by mmengine
# data        photographs that scikit-image ships, in LMDBs that `vlif demo` writes; synthetic rain falls on
#             them on the fly, anew at each visit, but always the same on the two photographs that are
#             held out for validation, coffee and chelsea
# command     make demo                                                  (once, for the data)
#             python -m vlif_plugin.mm_train options/mmengine/demo_vlif.py
# needs       minutes on two CPU cores, 1 GB of memory, no GPU
# expect      rainy 21.0 dB, derained at least 2 dB more (PSNR on Y, held-out photographs)

_base_ = ["_base_/runtime.py"]

work_dir = "demo/experiments/vlif_demo_mm"

model = dict(
    type="vlif_plugin.SNNRestorationModel",
    network_g=dict(
        type="VLIFNet",
        formulation="paper",
        dim=16,  # ours: a ninth of the paper's work
        en_num_blocks=[1, 1],  # ours
        de_num_blocks=[1, 1],  # ours
        use_refinement=False,  # ours
    ),
    pixel_opt=dict(type="SSIMLoss"),  # paper, supplement, eq. 3
)

train_dataloader = dict(
    batch_size=4,  # ours
    num_workers=0,  # ours: both cores compute
    sampler=dict(type="InfiniteSampler", shuffle=True),
    dataset=dict(
        type="vlif_plugin.SyntheticRainDataset",
        name="demo_train",
        dataroot_gt="demo/data/train.lmdb",
        rain="mixed",  # ours: light and heavy
        gt_size=64,  # paper, supplement, "Implementation Details"
        use_hflip=True,  # ours: few photographs
    ),
)
val_dataloader = dict(
    batch_size=1,
    num_workers=0,
    sampler=dict(type="DefaultSampler", shuffle=False),
    dataset=dict(
        type="vlif_plugin.SyntheticRainDataset",
        name="demo_val",
        dataroot_gt="demo/data/val.lmdb",
        rain="mixed",  # ours
        seed=3,  # ours: of the rain on whole images; light and heavy on each photograph
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(type="vlif_plugin.RestorationScores", protocols=["y"])
test_evaluator = val_evaluator

optim_wrapper = dict(
    type="OptimWrapper",
    optimizer=dict(
        type="AdamW",  # reference train.py
        lr=2e-3,  # ours
        weight_decay=0.01,  # reference train.py (AdamW's default)
        betas=(0.9, 0.999),  # reference train.py
    ),
)
train_cfg = dict(type="IterBasedTrainLoop", max_iters=240, val_interval=120)  # ours
val_cfg = dict(type="ValLoop")
test_cfg = dict(type="TestLoop")
param_scheduler = [
    dict(type="LinearLR", start_factor=1 / 20, by_epoch=False, end=20),  # ours
    dict(type="CosineAnnealingLR", eta_min=1e-6, by_epoch=False, T_max=240),  # ours
]

default_hooks = dict(
    logger=dict(interval=10),
    checkpoint=dict(interval=240, save_best="psnr_y"),
)
custom_hooks = [
    dict(type="vlif_plugin.RestorationHook"),
    dict(type="vlif_plugin.PictureHook", count=4),  # all of them
    dict(type="vlif_plugin.FiringRateHook", interval=10),
]
