from flaxae.report.page.comparison import compared, differing, unique_names
from flaxae.report.page.numbers import numbers, text, used_columns


def test_the_best_of_a_row():
    values = {
        "mse": {"embedding": 0.01, "pca": 0.02, "pixels": 0.0},
        "knn_accuracy": {"embedding": 0.9, "pixels": 0.95},
        "ssim": {"embedding": 0.8},
    }
    mse, ssim, knn = rows = numbers(values, "bce")
    assert mse.is_best("embedding")  # pixels reconstruct themselves
    assert not mse.is_best("pixels")
    assert knn.is_best("pixels")
    assert not ssim.is_best("embedding")  # which has no rival
    assert [*used_columns(rows)] == ["embedding", "pca", "pixels"]


def test_numbers_as_text():
    assert [text(x) for x in (0.5, 0.00012345, 0.0, 1234, "a")] == [
        "0.5000",
        "0.000123",
        "0.0000",
        "1,234",
        "a",
    ]


def test_less_of_a_part_of_the_loss_is_better():
    runs = [numbers({"ssim_loss": {"embedding": value}}, "bce") for value in (0.2, 0.1)]
    (row,) = compared(runs)
    assert (row.name, row.best) == ("SSIM loss", [1])


def test_no_run_is_the_best_by_a_measure_that_nobody_knows():
    runs = [
        numbers({"sharpness": {"embedding": x}, "kl_loss": {"embedding": x}}, "own")
        for x in (0.5, 0.9)
    ]
    rows = {row.name: row.best for row in compared(runs)}
    assert [*rows.values()] == [[], [0]]
    (row,) = numbers({"sharpness": {"embedding": 0.5, "pca": 0.4}}, "own")
    assert not row.is_best("embedding")


def test_flags_that_differ():
    rows = differing([{"seed": 0, "filters": (4, 2), "same": 1}, {"seed": 1, "same": 1}])
    assert [(row.name, row.texts) for row in rows] == [
        ("--seed", ["0", "1"]),
        ("--filters", ["4 2", ""]),
    ]


def test_runs_are_compared_by_name():
    first = numbers({"mse": {"embedding": 0.02}, "ssim": {"embedding": 0.5}}, "bce")
    second = numbers({"mse": {"embedding": 0.01}}, "bce")
    rows = {row.name: row for row in compared([first, second])}
    assert rows["MSE"].best == [1]
    assert rows["SSIM"].texts == ["0.5000", ""]
    assert rows["SSIM"].best == []
    assert unique_names(["a", "b", "a"]) == ["a (1)", "b", "a (3)"]
