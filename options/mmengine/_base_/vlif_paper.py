# VLIF as the paper's text describes it: 14,628,635 parameters.

model = dict(
    type="vlif_plugin.SNNRestorationModel",
    network_g=dict(
        type="VLIFNet",
        formulation="paper",
        dim=48,  # reference model.py; the paper does not say
        en_num_blocks=[4, 8],  # paper, supplement: [4, 10, 2]
        de_num_blocks=[2, 2],  # paper, supplement: [4, 10, 2]
        T=4,  # paper, supplement, table 3
        D=4,  # paper, supplement, "Implementation Details"
        r=2,  # paper, supplement, "Implementation Details"
        use_refinement=True,  # paper, supplement: four SDEMs
    ),
    pixel_opt=dict(type="SSIMLoss"),  # paper, supplement, eq. 3
    tile="auto",  # ours: whole images where memory allows
)
