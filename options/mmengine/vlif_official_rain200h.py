# VLIF on Rain200H, as the authors' released code trains it.
#
# reproduces  paper, table 1, Rain200H: PSNR 28.63 dB, SSIM 0.8935. Which protocol the table was made
#             with is not stated; validation scores as the released test.py does (rgb_skimage, 80x80
#             tiles) and on Y, a test by every protocol
# command     python -m vlif_plugin.mm_train options/mmengine/vlif_official_rain200h.py
#             torchrun --nproc_per_node 4 -m vlif_plugin.mm_train \
#                 options/mmengine/vlif_official_rain200h.py --cfg-options train_dataloader.batch_size=3
#             python -m vlif_plugin.mm_test options/mmengine/vlif_official_rain200h.py CHECKPOINT
#             (one's own, or the authors' released model_H200.pth as it is)
# data        vlif prepare Rain200H --source WHERE_YOU_UNPACKED_IT makes
#             datasets/Rain200H/{train,test}/{input,target}.lmdb, 1800 and 200 pairs. Folders of images
#             work as well: name them in dataroot_lq and dataroot_gt. See datasets/README.md
# needs       a GPU with 13 GB, or the changes of vlif_rain200h_small_gpu.py. On two CPU cores an
#             iteration takes up to a minute, the whole run months
# differs     the released script steps the learning rate once an epoch and not each iteration, and begins
#             its first epoch of warm-up with a learning rate of 0. From
#             options/train_vlif_official_rain200h.yml it differs in nothing but what docs/mmengine.md
#             lists
# sources     each value that is not mmengine's default says where it is from

_base_ = ["_base_/runtime.py", "_base_/vlif_official.py", "_base_/rain200h.py"]
