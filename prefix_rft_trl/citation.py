"""The paper that the method comes from, as model cards cite it."""

PAPER = {
    "title": "Blending Supervised and Reinforcement Fine-Tuning with Prefix Sampling",
    "id": "2507.01679",
    "citation": """\
@inproceedings{huang2026prefixrft,
    title        = {{Blending Supervised and Reinforcement Fine-Tuning with Prefix Sampling}},
    author       = {Huang, Zeyu and Cheng, Tianhao and Qiu, Zihan and Wang, Zili and Xu, Yinghui and Ponti, Edoardo M.
                    and Titov, Ivan},
    year         = 2026,
    booktitle    = {International Conference on Machine Learning},
    eprint       = {arXiv:2507.01679},
}""",
}
