"""The coded concepts that measures carry: DICOM, SNOMED CT and IBSI as DICOM's context groups list them.

CID 7469 to 7472 (linear, area and volume measurements), CID 7477 (shape features), CID 7464 (derivations). Where no
standard concept is known to fit, the code is our own (99ATTENDING), and says so.
"""

from __future__ import annotations

from ..records import Code

VOLUME = Code("SCT", "118565006", "Volume")
AREA = Code("SCT", "42798000", "Area")
LONG_AXIS = Code("SCT", "103339001", "Long axis")
PERPENDICULAR = Code("SCT", "131189007", "Perpendicular Axis")
LONGEST_3D = Code("IBSI", "L0JK", "Maximum 3D Diameter of a Mesh")
SURFACE_AREA = Code("IBSI", "C0JK", "Surface Area of Mesh")
SPHERICITY = Code("IBSI", "QCFX", "Sphericity")
CENTRE = Code("DCM", "128138", "Center of Mass")
DISTANCE = Code("DCM", "121206", "Distance")
ATTENUATION = Code("DCM", "112031", "Attenuation Coefficient")
MR_SIGNAL = Code("DCM", "110852", "MR signal intensity")

PRODUCT = Code("99ATTENDING", "bidimensional-product", "Bidimensional product (WHO)")
VALUE = Code("99ATTENDING", "voxel-value", "Voxel value")
VOXELS = Code("99ATTENDING", "voxel-count", "Voxel count")
CARDIOTHORACIC = Code("99ATTENDING", "cardiothoracic-ratio", "Cardiothoracic ratio")
CENTRES_APART = Code("99ATTENDING", "centre-distance", "Distance between centres of mass")

MEAN = Code("SCT", "373098007", "Mean")
DEVIATION = Code("SCT", "386136009", "Standard Deviation")
MINIMUM = Code("SCT", "255605001", "Minimum")
MAXIMUM = Code("SCT", "56851009", "Maximum")
MEDIAN = Code("SCT", "373099004", "Median")
PERCENTILES = {
    5: Code("SCT", "371888009", "Fifth percentile"),
    10: Code("SCT", "371890005", "Tenth percentile"),
    90: Code("SCT", "371887004", "Ninetieth percentile"),
    95: Code("SCT", "371889001", "Ninety-fifth percentile"),
}
SUMMED = "DCM 126030, Sum of segmented voxel method for volume"
