"""Symbols and covalent radii, without a library: the environments of recipes have none that states them."""

from __future__ import annotations

import numpy as np

#: By atomic number; X stands for no element.
SYMBOLS = (  # noqa: SIM905  (119 quotes are no easier to read)
    "X H He Li Be B C N O F Ne Na Mg Al Si P S Cl Ar K Ca Sc Ti V Cr Mn Fe Co Ni Cu Zn Ga Ge As Se Br Kr Rb Sr Y "
    "Zr Nb Mo Tc Ru Rh Pd Ag Cd In Sn Sb Te I Xe Cs Ba La Ce Pr Nd Pm Sm Eu Gd Tb Dy Ho Er Tm Yb Lu Hf Ta W Re Os "
    "Ir Pt Au Hg Tl Pb Bi Po At Rn Fr Ra Ac Th Pa U Np Pu Am Cm Bk Cf Es Fm Md No Lr Rf Db Sg Bh Hs Mt Ds Rg Cn "
    "Nh Fl Mc Lv Ts Og"
).split()
#: (119,) Angstrom, by atomic number; B. Cordero et al., Dalton Transactions 2008, 2832, doi:10.1039/b801115j, for
#: curium and lighter elements. 0.2 for "no element" and 2.0 beyond curium, as in ASE.
COVALENT_RADII = np.array(
    [
        *(0.20, 0.31, 0.28),  # -, H, He
        *(1.28, 0.96, 0.84, 0.76, 0.71, 0.66, 0.57, 0.58),  # Li to Ne
        *(1.66, 1.41, 1.21, 1.11, 1.07, 1.05, 1.02, 1.06),  # Na to Ar
        *(2.03, 1.76, 1.70, 1.60, 1.53, 1.39, 1.39, 1.32, 1.26, 1.24, 1.32, 1.22),  # K to Zn
        *(1.22, 1.20, 1.19, 1.20, 1.20, 1.16),  # Ga to Kr
        *(2.20, 1.95, 1.90, 1.75, 1.64, 1.54, 1.47, 1.46, 1.42, 1.39, 1.45, 1.44),  # Rb to Cd
        *(1.42, 1.39, 1.39, 1.38, 1.39, 1.40),  # In to Xe
        *(2.44, 2.15),  # Cs, Ba
        *(2.07, 2.04, 2.03, 2.01, 1.99, 1.98, 1.98, 1.96, 1.94, 1.92, 1.92, 1.89, 1.90, 1.87, 1.87),  # La to Lu
        *(1.75, 1.70, 1.62, 1.51, 1.44, 1.41, 1.36, 1.36, 1.32),  # Hf to Hg
        *(1.45, 1.46, 1.48, 1.40, 1.50, 1.50),  # Tl to Rn
        *(2.60, 2.21, 2.15, 2.06, 2.00, 1.96, 1.90, 1.87, 1.80, 1.69),  # Fr to Cm
        *([2.0] * 22),  # Bk to Og
    ]
)
