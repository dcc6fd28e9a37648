"""Carbon dioxide behind the energy that was spent, by a figure for the grid it came from."""

J_PER_KWH = 3.6e6


def carbon_g(energy_j: float, g_per_kwh: float) -> float:
    """Grams of CO2 equivalent.

    Args:
        energy_j: Energy, at the device.
        g_per_kwh: Grams that the grid emits for a kilowatt-hour.
    """
    return energy_j / J_PER_KWH * g_per_kwh
