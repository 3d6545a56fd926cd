# EUVP: its images, how they are scored, how long the training is.
#
# vlif prepare EUVP --source WHERE_YOU_UNPACKED_IT makes the LMDBs, of 11435 pairs (Paired) and 515
# (test_samples). Folders of images work as well.

_base_ = ["training.py"]

train_dataloader = dict(
    dataset=dict(
        name="EUVP",
        dataroot_lq="datasets/EUVP/train/input.lmdb",
        dataroot_gt="datasets/EUVP/train/target.lmdb",
    ),
)
val_dataloader = dict(
    dataset=dict(
        name="EUVP_test",
        dataroot_lq="datasets/EUVP/test/input.lmdb",
        dataroot_gt="datasets/EUVP/test/target.lmdb",
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(protocols=["rgb_skimage", "euvp"])  # reference test.py, and FUnIE-GAN

train_cfg = dict(max_iters=381_200)  # paper, supplement: 400 epochs, of 953 batches each
# BasicSR's schedule: the cosine runs from the first iteration on, and the warm-up multiplies what it gives.
# In BasicSR the warm-up stands in its place, which is 140 millionths more at the most
param_scheduler = [
    dict(
        type="LinearLR",
        start_factor=1 / 2859,  # BasicSR's: iteration n of 2859 has n/2859 of the learning rate
        by_epoch=False,
        end=2859,  # reference train.py: 3 epochs of 953 iterations
    ),
    dict(
        type="CosineAnnealingLR",  # reference train.py, which steps it once an epoch
        eta_min=1e-7,  # reference train.py
        by_epoch=False,
        T_max=381_200,
    ),
]
