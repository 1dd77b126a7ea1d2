"""What the cell finder found, as parts of the page of a text."""

from __future__ import annotations

import math

from pipeline.evaluation.intervals import Interval
from pipeline.evaluation.section import Section
from pipeline.explaining import page_text
from pipeline.explaining.cells import CellFindings
from pipeline.explaining.findings import Finding


def page_findings(found: CellFindings) -> tuple[page_text.Finding, ...]:
    """The ranked units as rows of the page's table."""
    return tuple(_page_finding(each) for each in found.rows)


def sections(found: CellFindings) -> tuple[Section, ...]:
    """The share of units that count, the post's cells, all labels, and the causal check."""
    return (_share(found), _named(found), _labels(found), _ablations(found))


def _page_finding(finding: Finding) -> page_text.Finding:
    measure = "AUROC" if finding.kind == "binary" else "rank correlation"
    ends = finding.interval
    return page_text.Finding(
        label=finding.label,
        layer=finding.layer,
        unit=finding.unit,
        measure=f"{measure}, {finding.signal}",
        effect=finding.effect,
        low=ends.low if ends else math.nan,
        high=ends.high if ends else math.nan,
        note=f"n-grams {finding.ngram:.2f}, untrained {finding.untrained:.2f}, p {finding.p:.4f}",
    )


def _share(found: CellFindings) -> Section:
    return Section(
        title="How many cells mean something",
        lead=f"{found.found_units:,} of {found.units:,} units ({found.share:.1%}) on {found.text}; "
        f"Karpathy's post of 2015 says about 5%. {found.definition}",
    )


def _named(found: CellFindings) -> Section:
    rows = [("cell", "verdict", "unit", "effect [95%]", "n-grams", "untrained", "p, family-wise")]
    rows += [(row.name, row.verdict, *_told(row.best)) for row in found.named]
    return Section(
        title="The cells that the post names",
        lead=f"Each as it is best tracked on {found.text}. An effect is an AUROC, or a rank "
        "correlation for positions and depths, on the half of the text that chose nothing.",
        table=tuple(rows),
    )


def _labels(found: CellFindings) -> Section:
    rows = [("label", "on, or mean", "units", "best unit", "effect [95%]", "n-grams", "untrained")]
    for label in found.labels:
        unit, effect, ngram, untrained, _ = _told(label.best)
        mean = f"{label.mean:.1%}" if label.kind == "binary" else f"{label.mean:.2f}"
        rows.append((label.label, mean, str(label.units), unit, effect, ngram, untrained))
    rare = f" Too rare to tell: {', '.join(found.too_rare)}." if found.too_rare else ""
    return Section(
        title="Every label",
        lead=f"`units` count for the label.{rare}",
        table=tuple(rows),
    )


def _ablations(found: CellFindings) -> Section:
    rows = [
        (
            "label",
            "unit",
            "where it tracks",
            "elsewhere",
            "random units where it tracks",
            "random units that cost as much",
        )
    ]
    for each in found.ablations:
        middle = sorted(each.random_tracked)[len(each.random_tracked) // 2]
        rows.append(
            (
                each.label,
                f"{each.layer}:{each.unit}",
                f"{each.tracked:+.4f} ({each.tracked_tokens:,} symbols)",
                f"{each.elsewhere:+.4f}",
                f"{middle:+.4f} (median of {len(each.random_tracked)})",
                f"{each.as_large:.0%}",
            )
        )
    return Section(
        title="Is it used? Units held at their mean",
        lead="Nats a symbol that the loss grows by. A unit that is used costs more where its label "
        "is on or about to change than elsewhere, and more than random units of its layer do.",
        table=tuple(rows) if found.ablations else (),
    )


def _told(finding: Finding | None) -> tuple[str, str, str, str, str]:
    """Unit, effect, both baselines and p, as text."""
    if finding is None:
        return ("-", "-", "-", "-", "-")
    return (
        f"{finding.layer}:{finding.unit}",
        f"{finding.effect:.3f}{_ends(finding.interval)}",
        f"{finding.ngram:.3f}",
        f"{finding.untrained:.3f}",
        f"{finding.p:.4f}",
    )


def _ends(interval: Interval | None) -> str:
    return f" [{interval.low:.3f}, {interval.high:.3f}]" if interval else ""
