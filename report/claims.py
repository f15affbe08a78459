"""Claims of the report: sentences that are computed from differences and their intervals, and numbers as text.

The prose includes them by inline code. Where a run is missing, the text says so instead of making the claim.
"""

import numpy as np
import pandas as pd
from scipy.stats import spearmanr
from scipy.stats import t as student_t

from hw2.metrics import intervals


class Text(str):
    """A string shown as Markdown. An empty one becomes a comment, because Quarto would show the code instead."""

    def _repr_markdown_(self):
        return str(self) or "<!-- -->"


def percent(share, digits=1):
    return Text("not measured" if share is None else f"{100 * share:.{digits}f} %")


def number(value, digits=2):
    """Return a number for prose: thousands in groups, `digits` decimals for small ones."""
    if value is None:
        return Text("not measured")
    if isinstance(value, int) or abs(value) >= 1000:
        return Text(f"{value:,.0f}")
    return Text(f"{value:.{digits}f}")


def millions(value, digits=2):
    return Text("not measured" if value is None else f"{value / 1e6:.{digits}f} million")


def duration(seconds):
    """Return seconds as text, in seconds, minutes or hours."""
    if seconds is None:
        return Text("not measured")
    if seconds < 120:
        return Text(f"{seconds:.0f} s")
    if seconds < 600:
        return Text(f"{seconds / 60:.2g} min")
    return Text(f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.3g} h")


def ratio(value, other):
    """Return how many times `value` is `other`, as text."""
    if not value or not other:
        return Text("an unmeasured number of")
    times = value / other
    return Text(f"{times:.0f}" if times >= 10 else f"{times:.1f}")


def signed(value, digits=1):
    return f"{value:+.{digits}f}".replace("-", "\N{MINUS SIGN}")


def points(interval):
    """Return a difference of shares in percentage points with its interval: "+3.1 points (+2.2 to +4.0)"."""
    if interval is None:
        return Text("not measured")
    estimate, low, high = (signed(100 * value, decimals(interval)) for value in interval)
    return Text(f"{estimate} points ({low} to {high})")


def decimals(interval):
    """Return the number of decimals at which the bounds of a clear difference in points do not read as zero."""
    return 2 if sign(interval) and min(abs(interval.low), abs(interval.high)) < 0.0005 else 1


def listed(items):
    """Return "a, b and c"."""
    *most, last = items
    return f"{', '.join(most)} and {last}" if most else last


def missing(runs, *names):
    """Return a visible note that names the unfinished runs, or ""; for a cell with `output: asis`."""
    absent = runs.missing(names)
    if not absent:
        return ""
    listed = ", ".join(f"`{name}`" for name in absent)
    return note(f"**Not run yet:** {listed}. The statements of this section about them are left open.")


def note(text):
    """Return a boxed paragraph, in HTML by its class and in the PDF by Typst's properties."""
    box = 'typst:fill="rgb(255, 245, 224)" typst:inset="7pt" typst:radius="2pt" typst:width="100%"'
    return f"\n::: {{.not-run {box}}}\n{text}\n:::\n"


def sign(interval):
    """Return 1 or -1 where the interval lies on one side of zero, 0 where it does not, None without one."""
    if interval is None:
        return None
    return int(interval.low > 0) - int(interval.high < 0)


def when(interval, better="", worse="", unclear=""):
    """Return the text that the sign of the difference supports; "" where it was not measured."""
    chosen = sign(interval)
    return Text("" if chosen is None else (unclear, better, worse)[chosen])


def correct(arrays, view=""):
    """Return whether the answer to each test image is right, (n,) bool; None if the run has no such answers.

    arrays: of `predictions.npz`. view: "" for the images themselves, or a view of test-time augmentation.
    """
    answers = arrays.get(f"test_answers_{view}" if view else "test_answers")
    return None if answers is None else answers == arrays["test_labels"]


class Conclusions:
    """The conclusions that the finished `runs` support."""

    def __init__(self, runs):
        self.runs = runs
        self._differences = {}

    # differences ------------------------------------------------------------------------------------------------

    def difference(self, run, other, view="", other_view=""):
        """Return by how much the second's test accuracy exceeds the first's, as `intervals.Interval` of shares.

        A paired bootstrap on the same test images. view, other_view: see `correct`. None unless both are finished and
        were tested on the same images.
        """
        key = (run, other, view, other_view)
        if key not in self._differences:
            self._differences[key] = self._difference(*key)
        return self._differences[key]

    def _difference(self, run, other, view, other_view):
        one, two = self.runs.arrays(run), self.runs.arrays(other)
        before, after = correct(one, view), correct(two, other_view)
        if before is None or after is None:
            return None
        if not all(np.array_equal(one[key], two[key]) for key in ("test_indices", "test_labels")):
            return None
        return intervals.bootstrap_mean(after.astype(int) - before.astype(int))

    def count(self):
        """Return on how many differences of accuracy or IoU the text is based so far."""
        return sum(value is not None for value in self._differences.values())

    def change(self, what, run, other, plural=False):
        """Return a sentence on the change of test accuracy from one run to another. what: its subject."""
        absent = self.runs.missing([run, other])
        if absent:
            return unmeasured(absent)
        found = self.difference(run, other)
        if found is None:
            return Text(f"`{run}` and `{other}` were not tested on the same images, so they are not compared.")
        before, after = (percent(self.runs.get(name, "test.accuracy")) for name in (run, other))
        s = "" if plural else "s"
        verb = {1: f"raise{s}", -1: f"lower{s}"}.get(sign(found))
        if verb is None:
            return Text(
                f"{what} make{s} no clear difference: {after} against {before} on the test images, {points(found)}."
            )
        return Text(f"{what} {verb} test accuracy by {size_text(found)}, from {before} to {after}.")

    def compared(self, run, other):
        """Return the difference in test accuracy, "+3.1 points (+2.2 to +4.0)", or the names of missing runs."""
        absent = self.runs.missing([run, other])
        return unmeasured(absent) if absent else points(self.difference(run, other))

    # gaps, cost, events -----------------------------------------------------------------------------------------

    def gap(self, run):
        """Return training minus validation accuracy of the last epoch, or None."""
        history = self.runs.history(run)
        if history.empty or "val_accuracy" not in history:
            return None
        last = history.iloc[-1]
        return float(last["accuracy"] - last["val_accuracy"])

    def gap_points(self, run):
        gap = self.gap(run)
        return Text("not measured" if gap is None else f"{signed(100 * gap)} points")

    def fit(self, run):
        """Return a clause that names over- or underfitting in the last epoch, by the limits that the text gives."""
        gap = self.gap(run)
        if gap is None:
            return unmeasured([run])
        train = self.runs.history(run).iloc[-1]["accuracy"]
        verdict = "overfits" if gap > 0.1 else "underfits" if train < 0.7 else "does neither"
        return Text(f"`{run}` {verdict} (training {percent(train)}, gap {signed(100 * gap)} points)")

    def events(self, run):
        """Return the events that training recorded, in words."""
        found = self.runs.get(run, "events")
        if found is None:
            return Text("")
        return Text("; ".join(f"epoch {event['epoch']}: {event['event']}" for event in found) or "none")

    def best(self, names, figure="accuracy"):
        """Return the finished run with the highest figure on the validation images, or None.

        The test images are not used: the maximum of many noisy test figures overestimates the best run.
        """
        path = f"validation.{figure}"
        found = [name for name in self.runs.finished(names) if self.runs.get(name, path) is not None]
        return max(found, key=lambda name: self.runs.get(name, path), default=None)

    # seeds ------------------------------------------------------------------------------------------------------

    def seed_spread(self, name, path="test.accuracy"):
        """Return (mean, standard deviation, number) of a figure over an experiment's seeds; None for fewer than 2."""
        values = [self.runs.get(run, path) for run in self.runs.seeds(name)]
        if len(values) < 2:
            return None
        return float(np.mean(values)), float(np.std(values, ddof=1)), len(values)

    def over_seeds(self, name, other, path="test.images.iou.mean"):
        """Return by how much the second's figure exceeds the first's, paired by seed, as `intervals.Interval`.

        Student's interval over the seeds that both have, which is wide for three seeds. None for fewer than two.
        """
        pairs = [
            (self.runs.get(one, path), self.runs.get(other + one.removeprefix(name), path))
            for one in self.runs.seeds(name)
        ]
        values = np.array([two - one for one, two in pairs if one is not None and two is not None])
        if len(values) < 2:
            return None
        reach = student_t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))
        return intervals.Interval(float(values.mean()), float(values.mean() - reach), float(values.mean() + reach))

    def over_images(self, name, other, column="iou"):
        """Return the mean over images of the difference of a per-image figure, with a paired bootstrap interval.

        Where both have several seeds, an image's difference is the mean over the seeds.
        """
        key = ("images", name, other, column)
        if key not in self._differences:
            self._differences[key] = self._over_images(name, other, column)
        return self._differences[key]

    def _over_images(self, name, other, column):
        columns = []
        for one in self.runs.seeds(name):
            tables = [self.runs.images(run) for run in (one, other + one.removeprefix(name))]
            if not any(table.empty for table in tables):
                left, right = (table.set_index("identifier")[column].astype(float) for table in tables)
                columns.append(right - left)
        means = pd.concat(columns, axis=1).dropna().mean(axis=1) if columns else []
        return intervals.bootstrap_mean(means, resamples=2000) if len(means) else None

    def mask_change(self, what, run, other):
        """Return a sentence on the change of the mean IoU of an image from one run to another. what: its subject."""
        absent = self.runs.missing([run, other])
        if absent:
            return unmeasured(absent)
        found = self.over_images(run, other)
        if found is None:
            return Text(f"`{run}` and `{other}` left no figures of the same images.")
        verb = {1: "raises", -1: "lowers"}.get(sign(found))
        if verb is None:
            return Text(f"{what} makes no clear difference to the mean IoU of an image, {points(found)}.")
        single = min(len(self.runs.seeds(name)) for name in (run, other)) == 1
        warning = self.luck(found) if single else ""
        return Text(f"{what} {verb} the mean IoU of an image by {size_text(found)}{warning}.")

    def luck(self, interval):
        """Return a warning, to be appended, if training noise may explain a difference of two single runs; or "".

        The bound is two standard deviations of a difference of two runs, from the seeds of the book's net.
        """
        names = "seg_book_transpose", "seg_book_bilinear"
        spreads = [spread[1] for name in names if (spread := self.seed_spread(name, "test.images.iou.mean"))]
        reach = 2 * np.sqrt(2 * np.mean(np.square(spreads))) if spreads else 0.0
        if abs(interval.estimate) > reach:
            return ""
        return f", within the {100 * reach:.1f} points by which two seeds of the book's net may differ"

    def class_difficulty(self, run, facts):
        """Return a sentence on what correlates with the IoU of VOC's classes. facts: arrays of `seg_baselines`."""
        values = self.runs.get(run, "test.class_iou")
        if not values or "train_pixels" not in facts:
            return unmeasured([name for name in (run, "seg_baselines") if name not in self.runs] or [run])
        ious = np.array(values[1:], float)
        pixels = training_pixels(facts)[:, 1:]
        sizes = [np.median(image[image > 0]) if image.any() else np.nan for image in pixels.T]
        reasons = {
            "the number of training images that hold the class": (pixels > 0).sum(0),
            "the median area that it covers in an image": sizes,
        }
        told = []
        for reason, figures in reasons.items():
            found = spearmanr(figures, ious, nan_policy="omit")
            if found.pvalue < 0.05:
                told.append(f"with {reason} (rank correlation {signed(found.statistic, 2)})")
        start = "What makes a class hard? Over the twenty classes, IoU goes clearly "
        if told:
            return Text(start + " and ".join(told) + ".")
        return Text(
            f"{start}with neither {' nor '.join(reasons)}; but among twenty, only a strong connection would show."
        )

    # ensembles, and the abstract --------------------------------------------------------------------------------

    def headline(self, names, what, figure="accuracy", measure="of the test images right"):
        """Return a clause on the best of `names`, chosen on the validation images."""
        best = self.best(names, figure)
        if best is None:
            return Text(f"{what} has not run yet")
        return Text(f"{what} gets {percent(self.runs.get(best, f'test.{figure}'))} {measure} (`{best}`)")

    def ensemble_gain(self, name):
        """Return an ensemble's gain over its mean member, over its best member (an interval), and the latter's name."""
        members = self.runs.get(name, "members")
        if not members:
            return None
        singles = {run: member["test"]["accuracy"] for run, member in members.items()}
        best = max(singles, key=singles.get)
        mean = float(self.runs.get(name, "test.accuracy") - np.mean(list(singles.values())))
        return mean, self.difference(best, name), best


def size_text(interval):
    """Return the size of a clear difference, without its sign: "3.1 points (95 % interval 2.2 to 4.0)"."""
    return f"{abs(100 * interval.estimate):.{decimals(interval)}f} points (95 % interval {interval_text(interval)})"


def interval_text(interval):
    low, high = sorted((abs(interval.low), abs(interval.high))) if sign(interval) else (interval.low, interval.high)
    digits = decimals(interval)
    return f"{100 * low:.{digits}f} to {100 * high:.{digits}f}".replace("-", "\N{MINUS SIGN}")


def training_pixels(facts):
    """Return the pixels of each class, (n, 21), of all training masks, SBD's too. facts: arrays of `seg_baselines`."""
    return np.concatenate([facts[key] for key in ("train_pixels", "sbd_pixels") if key in facts])


def unmeasured(names):
    listed = ", ".join(f"`{name}`" for name in names)
    return Text(f"*(Open until {listed} {'has' if len(names) == 1 else 'have'} run.)*")
