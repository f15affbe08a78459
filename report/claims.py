"""Numbers as text, and the claims that the text makes about them.

The prose is written by people about the committed results. Its numbers are inline code, and beside each conclusion
stands the comparison that it rests on:

    claim(c.improves("scratch_bn", over="scratch_plain"), "batch normalisation helps")

It shows nothing while the comparison bears the text out, or where a run is missing. Where other results contradict the
text, the reader sees a note in its place. All comparisons of the text form one family, which Holm's method corrects:
a difference is clear if it survives this correction, and else it is not clear, even if its own interval excludes zero.
"""

import functools
import re
from datetime import date
from itertools import combinations, product
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.stats import t as student_t

from hw2 import files
from hw2.errors import EntryError
from hw2.experiments import EXPERIMENTS, title_of
from hw2.experiments.schema import experiment_of
from hw2.labels import VOID

LEVEL = 0.05
DASH = "\N{EN DASH}"
MINUS = "\N{MINUS SIGN}"
INLINE = re.compile(r"`\{python\} ([^`]+)`")
TEXT = Path(__file__).resolve().parent


class Text(str):
    """A string shown as Markdown. An empty one becomes a comment, because Quarto would show the code instead."""

    def _repr_markdown_(self):
        return str(self) or "<!-- -->"


# numbers as text ------------------------------------------------------------------------------------------------------


def percent(share, digits=1):
    return Text(DASH if share is None else f"{100 * share:.{digits}f}\N{NO-BREAK SPACE}%")


def number(value, digits=2):
    """Return a number for prose: thousands in groups, `digits` decimals for small ones."""
    if value is None:
        return Text(DASH)
    if isinstance(value, int) or abs(value) >= 1000:
        return Text(f"{value:,.0f}")
    return Text(f"{value:.{digits}f}")


def duration(seconds):
    """Return seconds as text, in seconds, minutes or hours."""
    if seconds is None:
        return Text(DASH)
    if seconds < 120:
        return Text(f"{seconds:.0f} s")
    return Text(f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.3g} h")


def ratio(value, other):
    """Return how many times `other` goes into `value`, as text."""
    if not value or not other:
        return Text(DASH)
    times = value / other
    return Text(f"{times:.0f}" if times >= 10 else f"{times:.1f}".removesuffix(".0"))


def signed(value, digits=1):
    return f"{value:+.{digits}f}".replace("-", MINUS)


def points(difference):
    """Return a difference of shares in percentage points with its interval: "+3.1 points (+2.2 to +4.0)"."""
    if difference is None:
        return Text(DASH)
    estimate, low, high = (signed(100 * value) for value in difference[:3])
    return Text(f"{estimate} points ({low} to {high})")


# comparisons ----------------------------------------------------------------------------------------------------------


class Difference(NamedTuple):
    """A difference with its interval of 95 %, and the probability of one at least as large where there is none."""

    estimate: float
    low: float
    high: float
    p: float


class Evidence(NamedTuple):
    """What a claim rests on. holds: None where a run is missing. shown: what these results say instead, as text.

    difference: for comparisons that belong to the family that is corrected, a `Difference`; else None.
    """

    key: tuple
    holds: object
    shown: str
    difference: Difference | None = None

    def verdict(self, cutoff):
        """Return whether the results bear the claim out, None where they cannot tell."""
        return self.holds(cutoff) if callable(self.holds) else self.holds


HISTORY = {  # figures of a run's learning curve, from its rows
    "train": lambda rows, value: rows[value].iloc[-1],
    "gap": lambda rows, value: rows[value].iloc[-1] - rows[f"val_{value}"].iloc[-1],
    "loss_rise": lambda rows, value: rows["val_loss"].iloc[-1] / rows["val_loss"].min(),
    "gap_before_release": lambda rows, value: (
        rows[rows["phase"] == 1].iloc[-1].pipe(lambda last: last[value] - last[f"val_{value}"])
    ),
    "last_step": lambda rows, value: rows[f"val_{value}"].diff().iloc[-1],
    "tuned_epochs": lambda rows, value: int((rows["phase"] > 1).sum()),
    "epochs": lambda rows, value: len(rows),
    "best_epoch": lambda rows, value: int(rows["epoch"][rows[f"val_{value}"].idxmax()]),
    "lost_by_last": lambda rows, value: rows[f"val_{value}"].max() - rows[f"val_{value}"].iloc[-1],
    "first_loss": lambda rows, value: rows["val_loss"].iloc[0],
    "released_after": lambda rows, value: rows[f"val_{value}"][rows["phase"] > 1].iloc[0],
    "train_before": lambda rows, value: rows[value][rows["phase"] == 1].iloc[-1],
    "train_lowest": lambda rows, value: rows[value][rows["phase"] > 1].min(),
    "first": lambda rows, value: rows[f"val_{value}"].iloc[0],
    "last": lambda rows, value: rows[f"val_{value}"].iloc[-1],
}


SMALL = 0.1  # share of foreground below which an image counts as one of small objects
# Of several seeds, the fastest counts: the others ran on a slower machine, or on a busy one.
FASTEST = {"minutes": min, "images_per_second": max}


class Comparisons:
    """Figures of the finished `runs` and comparisons between them, each over all finished seeds of an experiment."""

    def __init__(self, runs):
        self.runs = runs
        self._differences = {}

    # figures --------------------------------------------------------------------------------------------------------

    def named(self, name):
        """Return the finished runs that a name stands for: all seeds of an experiment, or, with "-seedN", one run.

        Raises EntryError for the name of no experiment, which would otherwise read like one that has not been trained.
        """
        if experiment_of(name) not in EXPERIMENTS:
            raise EntryError(f"The report names {name!r}, which is no experiment.")
        one = experiment_of(name) != name
        return self.runs.finished([name.removesuffix("-seed0")]) if one else self.runs.seeds(name)

    def figures(self, name, on="test.accuracy"):
        """Return a figure of each finished seed, [float]. on: path in `metrics.json`, of HISTORY, or "minutes"."""
        return [value for run in self.named(name) if (value := self._figure(run, on)) is not None]

    def _figure(self, run, on):
        if on in HISTORY:
            rows = self.runs.history(run)
            value = next((value for value in ("accuracy", "iou") if f"val_{value}" in rows), None)
            return None if value is None else float(HISTORY[on](rows, value))
        if on == "minutes":
            seconds = self.runs.training_seconds(run)
            return None if seconds is None else seconds / 60
        if on == "images_per_second":
            return self.runs.images_per_second(run)
        if on == "corrupted":
            found = self.runs.get(run, "robustness")
            return None if not found else float(np.mean([value for values in found.values() for value in values]))
        if on.startswith("small:"):
            table = self.runs.images(run)
            small = table[table["foreground_share"] < SMALL] if not table.empty else table
            return None if small.empty else float(small[on[6:]].mean())
        if on.startswith("iou_at:"):
            return self._iou_at(run, float(on[7:]))
        if on.startswith("event:"):
            found = self.runs.get(run, "events")
            return None if found is None else float(sum(on[6:] in event["event"] for event in found))
        return self.runs.get(run, f"{on}.mean" if ".images." in on else on)

    def _iou_at(self, run, threshold):
        """Return the foreground IoU on the test images at another threshold, from the stored precision and recall."""
        arrays = self.runs.arrays(run)
        if "curve_threshold" not in arrays:
            return None
        place = np.abs(arrays["curve_threshold"] - threshold).argmin()
        precision, recall = (float(arrays[f"curve_{name}"][place]) for name in ("precision", "recall"))
        return 1 / (1 / precision + 1 / recall - 1) if precision and recall else 0.0

    def mean(self, name, on="test.accuracy"):
        """Return the mean of a figure over the finished seeds, or that of the fastest of them; None without any."""
        found = self.figures(name, on)
        return float(FASTEST.get(on, np.mean)(found)) if found else None

    def seeds(self, name):
        return len(self.named(name))

    @functools.cache  # noqa: B019 - lives as long as the report
    def spread(self, on, task="classification", pretrained=None):
        """Return the pooled standard deviation between the seeds of one net, and its degrees of freedom.

        Over all experiments of the task with several seeds. pretrained: over those alone that start from given weights
        (True) or from random ones (False). None without any.
        """
        names = sorted(
            {
                experiment_of(run)
                for run in self.runs.metrics
                if self.runs.get(run, "task") == task and pretrained in (None, self._starts_pretrained(run))
            }
        )
        found = [values for name in names if len(values := self.figures(name, on)) > 1]
        freedom = sum(len(values) - 1 for values in found)
        squares = sum(np.var(values, ddof=1) * (len(values) - 1) for values in found)
        return (float(np.sqrt(squares / freedom)), freedom) if freedom else None

    def deviation(self, on, task="classification", pretrained=None):
        """Return the deviation of `spread` in percentage points as text."""
        found = self.spread(on, task, pretrained)
        return number(100 * found[0] if found else None)

    def _starts_pretrained(self, run):
        return bool(self.runs.config(run).get("weights"))

    def _spreads(self, on, names):
        """Return `{kind: (deviation, degrees of freedom, share)}` of training in a comparison of nets.

        A kind is a start, from given weights or from random ones; one without several seeds of any net has the spread
        of all nets of the task. share: of the variance of one training, the sum of 1/n over the nets of this kind.
        """
        spreads = {}
        for name in names:
            runs = self.named(name)
            task, pretrained = self.runs.get(runs[0], "task"), self._starts_pretrained(runs[0])
            if spread := self.spread(on, task, pretrained) or self.spread(on, task):
                share = spreads.get(pretrained, (0, 0, 0))[2] + 1 / len(runs)
                spreads[pretrained] = (*spread, share)
        return spreads

    # differences ----------------------------------------------------------------------------------------------------

    def difference(self, run, over, on="test.accuracy", same_training=False):
        """Return by how much a figure of `run` exceeds that of `over`, as a `Difference`; None if one is missing.

        The variance has two parts: of the choice of test images, from the differences on each image (means over the
        seeds), and of training, from the pooled spread of nets with several seeds that start alike, from given weights
        or from random ones. Without any such net, the interval covers the images alone. same_training: both rest on the
        same trained nets, so that training adds nothing. The distribution is Student's, with Welch's degrees of
        freedom.
        """
        key = (run, over, on, same_training)
        if key not in self._differences:
            self._differences[key] = self._difference(*key)
        return self._differences[key]

    def _difference(self, run, over, on, same_training):
        ours, theirs = self.figures(run, on), self.figures(over, on)
        if not ours or not theirs:
            return None
        images = 0.0
        samples = [[self._sample(one, on) for one in self.named(name)] for name in (run, over)]
        if all(sample is not None for group in samples for sample in group):
            if len({tuple(identity) for group in samples for identity, _ in group}) > 1:
                return None  # not measured on the same images
            change = np.mean([values for _, values in samples[0]], 0) - np.mean([values for _, values in samples[1]], 0)
            estimate, images = float(change.mean()), float(change.var(ddof=1) / len(change))
        else:
            estimate = float(np.mean(ours) - np.mean(theirs))
        return self._uncertain(estimate, images, {} if same_training else self._spreads(on, (run, over)))

    def _uncertain(self, estimate, images, spreads):
        """Return an estimate with its interval as a `Difference`. spreads: see `_spreads`."""
        parts = [(deviation**2 * share, freedom) for deviation, freedom, share in spreads.values()]
        variance = images + sum(part for part, _ in parts)
        if not variance:
            return None
        unsure = sum(part**2 / freedom for part, freedom in parts)
        freedom = variance**2 / unsure if unsure else 1e9
        reach = student_t.ppf(1 - LEVEL / 2, freedom) * np.sqrt(variance)
        p = 2 * student_t.sf(abs(estimate) / np.sqrt(variance), freedom)
        return Difference(estimate, estimate - float(reach), estimate + float(reach), float(p))

    def _sample(self, run, on):
        """Return `(identity, values)` of the images behind a figure, or None for a figure that no images make up."""
        part, _, kind = on.partition(".")
        if kind == "accuracy":
            arrays = self.runs.arrays(run)
            if f"{part}_answers" not in arrays:
                return None
            labels = arrays[f"{part}_labels"]
            return labels.tolist(), (arrays[f"{part}_answers"] == labels).astype(float)
        if on.startswith("test.images."):
            table = self.runs.images(run)
            column = on.rpartition(".")[2]
            if table.empty or column not in table:
                return None
            return table["identifier"].astype(str).tolist(), table[column].astype(float).to_numpy()
        return None

    def views(self, run, view):
        """Return by how much the answers to several views of each image beat those to one, as a `Difference`."""
        arrays = self.runs.arrays(run)
        if f"test_answers_{view}" not in arrays:
            return None
        labels = arrays["test_labels"]
        change = (arrays[f"test_answers_{view}"] == labels).astype(float) - (arrays["test_answers"] == labels)
        error = change.std(ddof=1) / np.sqrt(len(change))
        return Difference(
            float(change.mean()), float(change.mean() - 1.96 * error), float(change.mean() + 1.96 * error), 0.0
        )

    def masks_differ(self, name, other):
        """Return the share of labelled pixels in which the masks of two nets differ, over all pairs of their runs.

        On the test images that all runs share, each run at its own threshold; of one net, between its seeds. None
        without two runs.
        """
        shared = self.runs.arrays("seg_baselines")
        ours, theirs = ([run for run in self.named(one) if self.runs.has_panel(run)] for one in (name, other))
        pairs = list(combinations(ours, 2)) if name == other else list(product(ours, theirs))
        found = [
            (self._mask(one, index) != self._mask(two, index))[shared[f"panel_{index}_truth"] != VOID].mean()
            for one, two in pairs
            for index in range(len(shared["panel_identifiers"]))
        ]
        return float(np.mean(found)) if found else None

    def masks_of_seeds(self, *names):
        """Return the share of pixels in which the masks of two seeds of one net differ, the mean over these nets."""
        found = [value for name in names if (value := self.masks_differ(name, name)) is not None]
        return float(np.mean(found)) if found else None

    def _mask(self, run, index):
        return self.runs.arrays(run)[f"panel_{index}_probability"] >= 255 * self.runs.get(run, "threshold")

    # for prose --------------------------------------------------------------------------------------------------------

    def share(self, name, on="test.accuracy", digits=1):
        """Return a figure of a net as text, "72.4 %": the mean over its seeds."""
        return percent(self.mean(name, on), digits)

    def level(self, name, on="test.accuracy"):
        """Return a figure with its interval as text, "72.4 % (71.5 to 73.3)": the mean over the seeds of a net.

        The interval covers the choice of test images and training, as that of a difference does.
        """
        samples = [self._sample(run, on) for run in self.named(name)]
        if not samples or None in samples:
            return self.share(name, on)
        values = np.mean([values for _, values in samples], 0)
        found = self._uncertain(self.mean(name, on), values.var(ddof=1) / len(values), self._spreads(on, (name,)))
        return Text(f"{percent(found.estimate)} ({100 * found.low:.1f} to {100 * found.high:.1f})")

    def gain(self, run, over, on="test.accuracy", same_training=False):
        """Return a difference as text: "+3.1 points (+2.2 to +4.0)"."""
        return points(self.difference(run, over, on, same_training))

    def by(self, run, over, on="test.accuracy", same_training=False):
        """Return a difference as text for "rises by": "3.1 points (2.2 to 4.0)"."""
        return Text(self.gain(run, over, on, same_training).replace("+", ""))

    def gap(self, name):
        """Return training minus validation accuracy of the last epoch as text: "31 points", "1 point"."""
        found = self.mean(name, "gap")
        if found is None:
            return Text(DASH)
        size = signed(100 * found, 0).removeprefix("+")
        return Text(f"{size} point{'' if size == '1' else 's'}")

    def times(self, run, than, on):
        """Return how many times a figure of `than` goes into that of `run`, as text."""
        return ratio(self.mean(run, on), self.mean(than, on))

    def minutes(self, name):
        found = self.mean(name, "minutes")
        return duration(None if found is None else 60 * found)

    def setting(self, name, key, phase=None):
        """Return a recorded setting as text, of the model or of one phase of training; a dash without the run."""
        run = next(iter(self.named(name)), name)
        values = self.runs.config(run).get("model_arguments", {}) if phase is None else self.runs.phase(run, phase)
        return Text(f"{value:g}" if isinstance(value := values.get(key), (int, float)) else value or DASH)

    def value(self, name, on, digits=2):
        """Return a figure as a plain number, as text."""
        return number(self.mean(name, on), digits)

    # what claims rest on ----------------------------------------------------------------------------------------------

    def improves(self, run, over, on="test.accuracy", same_training=False):
        """The figure of `run` is clearly the higher one, after the correction for all claims of the text."""
        found = self.difference(run, over, on, same_training)
        return Evidence(
            ("improves", run, over, on),
            None if found is None else lambda cutoff: found.estimate > 0 and found.p <= cutoff,
            shown(found, on),
            found,
        )

    def unclear(self, run, over, on="test.accuracy"):
        """The difference is not clear, after the correction for all claims of the text."""
        found = self.difference(run, over, on)
        return Evidence(
            ("unclear", run, over, on),
            None if found is None else lambda cutoff: found.p > cutoff,
            shown(found, on),
            found,
        )

    def exceeds(self, run, than, on, times=1.0, than_on=None):
        """A recorded figure of `run` is more than `times` that of another: a fact of the record, without statistics.

        than_on: the figure of the other one, if it has another path.
        """
        ours, theirs = self.mean(run, on), self.mean(than, than_on or on)
        known = None not in (ours, theirs)
        expected = "the first is greater" if times == 1 else f"the first is more than {times:g} times the second"
        return Evidence(
            ("exceeds", run, than, on, times, than_on),
            ours > times * theirs if known else None,
            f"{plainly(ours, on)} and {plainly(theirs, than_on or on)} (expected: {expected})" if known else "",
        )

    def between(self, name, on, low=-np.inf, high=np.inf):
        """A recorded figure lies between two bounds."""
        found = self.mean(name, on)
        limits = [f"at least {plainly(low, on)}"] if low > -np.inf else []
        limits += [f"at most {plainly(high, on)}"] if high < np.inf else []
        return Evidence(
            ("between", name, on, low, high),
            None if found is None else low <= found <= high,
            f"{plainly(found, on)} (expected: {' and '.join(limits)})" if found is not None else "",
        )

    def alike(self, name, other, times=1.2):
        """The masks of two nets differ at most `times` as much as those of two seeds of one of them."""
        between, seeds = self.masks_differ(name, other), self.masks_of_seeds(name, other)
        known = None not in (between, seeds)
        return Evidence(
            ("alike", name, other, times),
            between <= times * seeds if known else None,
            f"{percent(between)} of the pixels differ, and {percent(seeds)} between seeds" if known else "",
        )

    def best(self, name, among, on="validation.accuracy"):
        """No net of `among` has a higher figure on the validation images, the mean over its seeds."""
        found = {other: value for other in among if (value := self.mean(other, on)) is not None}
        first = max(found, key=found.get, default=None)
        return Evidence(
            ("best", name, tuple(among), on),
            first == name if name in found and len(found) > 1 else None,
            f"it is the {title_of(first)}" if first else "",
        )

    # the claims of the text -------------------------------------------------------------------------------------------

    @functools.cached_property
    def claimed(self):
        """All claims of the text, in its order: `[(evidence, what the text says)]`. The text itself is the registry."""
        found = []

        def record(evidence, what):
            found.append((evidence, what))

        def record_answer(what, *evidences):
            found.extend((evidence, f"the answer is: {what}") for evidence in evidences)

        for expression in claim_expressions():
            eval(expression, {"c": self, "claim": record, "answer": record_answer})
        return found

    @functools.cached_property
    def cutoff(self):
        """The largest probability at which a difference counts as clear, by Holm's method over all claims."""
        family = {evidence.key[1:]: evidence.difference for evidence, _ in self.claimed if evidence.difference}
        passed, probabilities = 0.0, sorted(difference.p for difference in family.values())
        for place, probability in enumerate(probabilities):
            if probability > LEVEL / (len(probabilities) - place):
                break
            passed = probability
        return passed

    @functools.cached_property
    def family(self):
        """The number of comparisons that the text makes, which Holm's method corrects."""
        return len({evidence.key[1:] for evidence, _ in self.claimed if evidence.difference})

    def contradicted(self):
        """Return the claims that these results contradict: `[what the text says]`."""
        return [what for evidence, what in self.claimed if evidence.verdict(self.cutoff) is False]

    def claim(self, evidence, what):
        """Return nothing, or a note if these results contradict `what` the text says."""
        if evidence.verdict(self.cutoff) is not False:
            return Text("")
        return note(f"The text says that {what}. These results do not bear this out: {evidence.shown}.")

    def answer(self, what, *evidences):
        """Return an answer of the table of questions, or that the results do not give it, or contradict it."""
        verdicts = [evidence.verdict(self.cutoff) for evidence in evidences]
        if False in verdicts:
            return Text("*not borne out by these results*")
        return Text("*not measured yet*" if None in verdicts else what)

    # dates ------------------------------------------------------------------------------------------------------------

    def newest(self):
        """Return the date of the newest run, "26 November 2026", or that there is none."""
        found = [files.read_json(path)["finished"] for path in self.runs.folder.glob("*/final.json")]
        if not found:
            return Text("no finished run yet")
        newest = date.fromisoformat(max(found)[:10])
        return Text(f"{newest.day} {newest:%B %Y}")


# paths of figures that are no shares; shares are shown in percent
PLAIN = re.compile(r"cost\.|event:|checkerboard|.*(loss|loss_rise|epochs?)$")


def plainly(value, on):
    """Return a figure as text without its uncertainty: "58.2 %", "27,111,936". on: its path."""
    if not PLAIN.match(on):
        return percent(value)
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}".replace("-", MINUS)


def shown(difference, on):
    if difference is None:
        return ""
    if on.startswith(("test.", "validation.")):
        return str(points(difference))
    return f"{signed(difference.estimate, 2)} ({signed(difference.low, 2)} to {signed(difference.high, 2)})"


def note(text):
    """Return a highlighted sentence, in HTML by its class and in the PDF by the colour of its background."""
    return Text(f'[{text}]{{.note style="background-color: #ffe9b8"}}')


def pending(runs, *names):
    """Return a note that names the experiments of a section that have no finished run, or ""."""
    absent = [title_of(name) for name in names if not runs.seeds(name)]
    return note(f"Not measured yet: {'; '.join(absent)}.") if absent else Text("")


def sources():
    """Return the files of the text, {name: content}."""
    return {path.name: path.read_text() for path in sorted(TEXT.glob("*.qmd"))}


def claim_expressions():
    """Return the expressions of all claims and answers of the text, which use nothing but `c` and literals."""
    found = [text for content in sources().values() for text in INLINE.findall(content)]
    return [text for text in found if text.startswith(("claim(", "answer("))]
