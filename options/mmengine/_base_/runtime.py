# What every run has: hooks, logs, seeds. Values that are mmengine's defaults are left out.

default_hooks = dict(
    logger=dict(
        type="LoggerHook",
        interval=100,
        log_metric_by_epoch=False,  # scores stand at their iteration
    ),
    checkpoint=dict(
        type="CheckpointHook",
        by_epoch=False,
        interval=5000,
        save_best="psnr_rgb_skimage",
        rule="greater",
    ),
)
custom_hooks = [
    dict(type="vlif_plugin.RestorationHook"),
    dict(type="vlif_plugin.PictureHook", count=0, save_all=True),  # a test writes its images
]
log_processor = dict(by_epoch=False)
visualizer = dict(
    type="Visualizer",
    vis_backends=[dict(type="LocalVisBackend"), dict(type="TensorboardVisBackend")],
)
env_cfg = dict(cudnn_benchmark=True)  # as BasicSR
randomness = dict(seed=1234)  # reference train.py
