# How VLIF is trained, validated and tested on any dataset of pairs. The files of the datasets add where
# the images are, how long it takes, and the schedule.

train_dataloader = dict(
    batch_size=12,  # paper, supplement (on one GPU; divide it by the number of GPUs)
    num_workers=2,  # reference train.py
    # one shuffled round after the other without a break, so that no batch is smaller
    sampler=dict(type="InfiniteSampler", shuffle=True),
    dataset=dict(
        type="vlif_plugin.PairedRainDataset",
        gt_size=64,  # paper, supplement, "Implementation Details"
        use_hflip=False,  # reference dataset_load.py
        use_rot=False,  # reference dataset_load.py
    ),
)
val_dataloader = dict(
    batch_size=1,
    num_workers=0,
    sampler=dict(type="DefaultSampler", shuffle=False),
    dataset=dict(type="vlif_plugin.PairedRainDataset"),
)
test_dataloader = val_dataloader

optim_wrapper = dict(
    type="OptimWrapper",
    optimizer=dict(
        type="AdamW",  # reference train.py
        lr=1e-3,  # reference train.py
        weight_decay=0.01,  # reference train.py (AdamW's default)
        betas=(0.9, 0.999),  # reference train.py
    ),
)
train_cfg = dict(type="IterBasedTrainLoop", val_interval=5000)
val_cfg = dict(type="ValLoop")
test_cfg = dict(type="TestLoop")

val_evaluator = dict(type="vlif_plugin.RestorationScores")
test_evaluator = dict(
    type="vlif_plugin.RestorationScores",
    protocols="all",  # which one made the paper's tables is not stated
)
