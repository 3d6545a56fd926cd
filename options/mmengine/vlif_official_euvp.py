# VLIF on EUVP, as the authors' released code trains it.
#
# reproduces  paper, table 2d, EUVP: PSNR 25.69 dB, SSIM 0.8817. Neither split nor scoring is stated, and
#             PSNR moves by 7 dB between luma and RGB; validation scores as FUnIE-GAN, from whom the
#             images are, does (protocol euvp), and as the released test.py (rgb_skimage, 80x80 tiles), a
#             test by every protocol
# command     python -m vlif_plugin.mm_train options/mmengine/vlif_official_euvp.py
#             torchrun --nproc_per_node 4 -m vlif_plugin.mm_train options/mmengine/vlif_official_euvp.py \
#                 --cfg-options train_dataloader.batch_size=3
#             python -m vlif_plugin.mm_test options/mmengine/vlif_official_euvp.py CHECKPOINT
# data        vlif prepare EUVP --source WHERE_YOU_UNPACKED_IT makes
#             datasets/EUVP/{train,test}/{input,target}.lmdb, 11435 pairs (Paired) and 515
#             (test_samples). Folders of images work as well: name them in dataroot_lq and dataroot_gt.
#             See datasets/README.md
# needs       a GPU with 13 GB, or the changes of vlif_rain200h_small_gpu.py. On two CPU cores an
#             iteration takes up to a minute, the whole run months
# differs     the released script keeps a last, smaller batch (11 images of 11435; here they are in one
#             with the first of the next round), steps the learning rate once an epoch and not each
#             iteration, and begins its first epoch of warm-up with a learning rate of 0. From
#             options/train_vlif_official_euvp.yml it differs in nothing but what docs/mmengine.md lists
# not stated  by the released code, which has no EUVP: everything is as for rain, without the refinement,
#             though the table's FLOPs are those with it (as they are for every set). Iterations: 400
#             epochs (paper, supplement) of 953 batches, 11435 / 12 rounded up as the released loader
#             does
# sources     each value that is not mmengine's default says where it is from

_base_ = ["_base_/runtime.py", "_base_/vlif_official.py", "_base_/euvp.py"]
