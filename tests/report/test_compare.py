from typing import Any

import pytest

from fedsim.report.compare import comparison


def method(scale: float = 1.0, wasted: float = 0.1, server: int = 0, **quality: float) -> dict[str, Any]:
    spent = {
        "upload_bytes": int(40e6 * scale),
        "download_bytes": int(80e6 * scale),
        "flops_forward": int(2e12 * scale),
        "flops_backward": int(4e12 * scale),
        "cut_upload_bytes": server * 30_000_000,
        "cut_download_bytes": server * 20_000_000,
        "server_flops_forward": server * 10**12,
        "server_flops_backward": server * 2 * 10**12,
        "device_seconds": 1000.0 * scale,
    }
    return {
        "quality": {name.replace("__", "/"): value for name, value in quality.items()},
        **spent,
        **{f"wasted_{name}": value * wasted for name, value in spent.items()},
        "energy_j": 5000.0 * scale,
        "simulated_seconds": 300.0 * scale,
        "tokens": int(64_000 * scale),
        "real_tokens": int(48_000 * scale),
        "rounds": 12,
        "clients_trained": 36,
    }


def test_carbon_is_told_where_every_method_has_it() -> None:
    one, two = {**method(), "carbon_g": 2500.0}, {**method(0.5), "carbon_g": 1250.0}
    assert rows(a=one, b=two)["CO2"] == ("2.50 kg 100.0 %", "1.25 kg 50.0 %")
    assert "CO2" not in rows(a=one, b=method())


def rows(**methods: dict[str, Any]) -> dict[str, tuple[str, ...]]:
    """Cells by row; rows below another one as `upload, MB/useful`."""
    found, above = {}, ""
    for label, *cells in comparison(methods).rows:
        above = above if label.startswith("  ") else label
        key = f"{above}/{label.strip()}" if label.startswith("  ") else label
        found[key] = tuple(" ".join(cell.split()) for cell in cells)
    return found


def test_every_cost_is_told_whole_useful_and_wasted_and_as_a_share_of_the_first_method() -> None:
    table = rows(fedavg=method(), fedbt=method(0.25, wasted=0.4))
    assert table["upload, MB"] == ("40.0 100.0 %", "10.0 25.0 %")
    assert table["upload, MB/useful"] == ("36.0 90.0 %", "6.0 15.0 %")
    assert table["upload, MB/wasted"] == ("4.0 10.0 %", "4.0 10.0 %")
    assert table["download, MB"] == ("80.0 100.0 %", "20.0 25.0 %")
    assert table["forward"] == ("2.00 TFLOP 100.0 %", "500 GFLOP 25.0 %")
    assert table["backward/useful"] == ("3.60 TFLOP 90.0 %", "600 GFLOP 15.0 %")
    assert table["device time/wasted"] == ("100.0 s 10.0 %", "100.0 s 10.0 %")
    assert table["energy"] == ("5.00 kJ 100.0 %", "1.25 kJ 25.0 %")
    assert table["simulated time"] == ("5.0 min 100.0 %", "75.0 s 25.0 %")
    assert table["mean upload, MB"] == ("1.000 100.0 %", "0.167 16.7 %")
    assert table["mean upload, MiB"][0] == "0.954 100.0 %"
    assert table["tokens, padded"] == ("64,000 100.0 %", "16,000 25.0 %")
    assert table["padding"] == ("25.0 %", "25.0 %")
    assert table["rounds"] == ("12", "12")
    assert table["client updates used"] == ("36", "36")


def test_a_server_that_computes_has_rows_of_its_own() -> None:
    table = rows(fedavg=method(), fedbert=method(server=1))
    assert table["cut up, MB"] == ("0.000", "30.0")
    assert table["cut down, MB/wasted"] == ("0.000", "2.0")
    assert table["server forward"] == ("0 FLOP", "1.00 TFLOP")
    assert table["server backward/useful"] == ("0 FLOP", "1.80 TFLOP")
    assert not any("server" in row or "cut" in row for row in rows(fedavg=method()))


def test_a_method_alone_has_no_shares_but_of_its_waste() -> None:
    table = rows(fedavg=method())
    assert table["upload, MB"] == ("40.0",)
    assert table["upload, MB/wasted"] == ("4.0 10.0 %",)
    assert comparison({"fedavg": method()}).notes == []


def test_waste_is_left_out_where_there_is_none() -> None:
    table = comparison({"a": method(wasted=0.0), "b": method(wasted=0.0)})
    assert not [label for label, *_ in table.rows if label.startswith("  ")]
    assert len(table.sections) == 1


def test_what_is_not_sent_is_left_out() -> None:
    alone = method() | {"upload_bytes": 0, "wasted_upload_bytes": 0, "download_bytes": 0, "wasted_download_bytes": 0}
    table = rows(centralized=alone)
    assert "upload, MB" not in table
    assert "mean upload, MB" not in table
    both = rows(centralized=alone, fedavg=method())
    assert both["upload, MB"] == ("0.000", "40.0")


@pytest.mark.parametrize("updates", [0, 36])
def test_a_mean_needs_updates(updates: int) -> None:
    table = rows(a=method() | {"clients_trained": updates})
    assert ("mean upload, MB" in table) == bool(updates)


def test_quality_stands_first_and_only_what_people_read() -> None:
    table = rows(
        a=method(further_pretrain__mlm_loss=6.6308, finetune__accuracy=0.71, finetune__loss=1.2),
        b=method(finetune__accuracy=0.5),
    )
    assert list(table)[:3] == ["further_pretrain mlm_loss", "finetune accuracy", "upload, MB"]
    assert table["further_pretrain mlm_loss"] == ("6.6308", "")
    assert table["finetune accuracy"] == ("0.7100", "0.5000")
