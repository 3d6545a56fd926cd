# VLIF as the authors' released code has it: 14,023,911 parameters.

model = dict(
    type="vlif_plugin.SNNRestorationModel",
    network_g=dict(
        type="VLIFNet",
        formulation="official",
        dim=48,  # reference model.py
        en_num_blocks=[4, 8],  # reference model.py: second and third of [4, 4, 8, 8]
        de_num_blocks=[2, 2],  # reference model.py: second and third of [2, 2, 2, 2]
        T=4,  # reference model.py
        D=4,  # reference model.py
        r=2,  # reference model.py
        use_refinement=False,  # reference train.py: only for Rain200L
    ),
    pixel_opt=dict(type="SSIMLoss"),  # paper, supplement, eq. 3
    tile="official80",  # reference test.py
)
