# Rain200H: its images, how they are scored, how long the training is.
#
# vlif prepare Rain200H --source WHERE_YOU_UNPACKED_IT makes the LMDBs, of 1800 and 200 pairs. Folders of
# images work as well.

_base_ = ["training.py"]

train_dataloader = dict(
    dataset=dict(
        name="Rain200H",
        dataroot_lq="datasets/Rain200H/train/input.lmdb",
        dataroot_gt="datasets/Rain200H/train/target.lmdb",
    ),
)
val_dataloader = dict(
    dataset=dict(
        name="Rain200H_test",
        dataroot_lq="datasets/Rain200H/test/input.lmdb",
        dataroot_gt="datasets/Rain200H/test/target.lmdb",
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(protocols=["rgb_skimage", "y"])  # reference test.py, and Y

train_cfg = dict(max_iters=300_000)  # paper, supplement, table 1
# BasicSR's schedule: the cosine runs from the first iteration on, and the warm-up multiplies what it gives.
# In BasicSR the warm-up stands in its place, which is 6 millionths more at the most
param_scheduler = [
    dict(
        type="LinearLR",
        start_factor=1 / 450,  # BasicSR's: iteration n of 450 has n/450 of the learning rate
        by_epoch=False,
        end=450,  # reference train.py: 3 epochs of 150 iterations
    ),
    dict(
        type="CosineAnnealingLR",  # reference train.py, which steps it once an epoch
        eta_min=1e-7,  # reference train.py
        by_epoch=False,
        T_max=300_000,
    ),
]
