"""Networks of convolutions and integrate-and-fire neurons as graphs of NIR, the Neuromorphic Intermediate
Representation (Pedersen et al. 2024, Nature Communications 15, 8122).
"""
