# VLIF on EUVP, as the paper's text describes it.
#
# reproduces  paper, table 2d, EUVP: PSNR 25.69 dB, SSIM 0.8817. Neither split nor scoring is stated, and
#             PSNR moves by 7 dB between luma and RGB; validation scores whole images as FUnIE-GAN, from
#             whom the images are, does (protocol euvp), and as the released test.py (rgb_skimage), a test
#             by every protocol
# command     python -m vlif_plugin.mm_train options/mmengine/vlif_euvp.py
#             torchrun --nproc_per_node 4 -m vlif_plugin.mm_train options/mmengine/vlif_euvp.py \
#                 --cfg-options train_dataloader.batch_size=3
#             python -m vlif_plugin.mm_test options/mmengine/vlif_euvp.py CHECKPOINT
# data        vlif prepare EUVP --source WHERE_YOU_UNPACKED_IT makes
#             datasets/EUVP/{train,test}/{input,target}.lmdb, 11435 pairs (Paired) and 515
#             (test_samples). Folders of images work as well: name them in dataroot_lq and dataroot_gt.
#             See datasets/README.md
# needs       a GPU with 13 GB, or the changes of vlif_rain200h_small_gpu.py. On two CPU cores an
#             iteration takes up to a minute, the whole run months
# not stated  in the paper, and taken from the released training script: optimiser, learning rates,
#             warm-up, seed. The paper gives epochs, and for rain batch, patch, loss, T, D, r and the
#             blocks. Iterations: 400 epochs (paper, supplement) of 953 batches, 11435 / 12 rounded up as
#             the released loader does
# differs     from options/train_vlif_euvp.yml in nothing but what docs/mmengine.md lists
# sources     each value that is not mmengine's default says where it is from

_base_ = ["_base_/runtime.py", "_base_/vlif_paper.py", "_base_/euvp.py"]
