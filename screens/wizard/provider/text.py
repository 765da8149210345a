"""Texts of the Provider page: recommendation, costs, alternatives, comparison and sources."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from ftwizard.advice import provider_advice, provider_costs
from ftwizard.advice.evidence import Evidence, warn_of_facts
from ftwizard.advice.provider_advice import Recommendation
from ftwizard.advice.provider_costs import ProviderCost
from ftwizard.catalog.prices import STALE_DAYS
from ftwizard.catalog.providers import ProviderFacts, ProviderId, catalog
from ftwizard.hosted_platforms import HostedProvider
from ftwizard.screens import layout, palette

INDENT = 4
_NAME_WIDTH = 20
"""Cells of the provider name column."""
_WIDE = 70
"""Width in cells from which costs are in a column."""
COMPARISON_WIDTH = 100
"""Width in cells from which all providers' factors fit next to each other."""
_LABEL_WIDTH = 20
NOT_READ = "No data is read yet. Once it is, its costs appear here."
NO_ROWS = "No row is usable, so these are general prices."
COUNTING = "Computing the costs of your data …"
LEFT_OUT = "Your own prices are ignored: their file has an error."


@dataclass(frozen=True)
class DataFindings:
    """Findings on the data."""

    evidence: Evidence | None = None
    costs: tuple[ProviderCost, ...] = ()
    """Empty while unknown."""
    tokens: str = ""
    """Description of the tokens trained on."""
    counting: bool = False
    """Whether the costs are being computed."""
    own_left_out: bool = False
    model: str = ""
    """Description of the model that costs by the hour are for."""


def format_page(
    recommendation: Recommendation,
    provider: ProviderId,
    findings: DataFindings,
    width: int,
    more: str,
    today: datetime.date,
    platform: HostedProvider | None = None,
) -> Text:
    """Format everything below the questions, in ``width`` cells.

    ``more``: how to list every offer, in words; ``platform``: the chosen cloud service.
    """
    parts = [(format_warning(findings.evidence), 2)]
    parts.append((format_recommendation(recommendation, findings.evidence), INDENT))
    if provider != recommendation.first.provider:
        instead = format_instead(recommendation, provider, findings.costs, platform)
        parts.insert(0, (instead, INDENT))
    costs = format_costs(recommendation, provider, findings, width, more)
    flips = format_flips(recommendation), INDENT
    suggestions = format_suggestions(findings.evidence), INDENT
    if recommendation.blocked:  # one of these has to change first
        parts += [flips, (costs, 0), suggestions]
    else:
        parts += [(costs, 0), suggestions, flips]
    if width >= COMPARISON_WIDTH:
        parts.append((format_comparison(recommendation, provider, width), 0))
    else:
        parts.append((format_factors(recommendation, provider), 2 + _LABEL_WIDTH))
    parts.append((format_sources(recommendation, today), INDENT))
    wrapped = [
        layout.wrap_hanging(text, hang, width) if hang else text for text, hang in parts if text
    ]
    return Text("\n\n").join(wrapped)


def format_warning(evidence: Evidence | None) -> Text:
    """Format the warning against fine-tuning on this data; empty if there is none."""
    warning = warn_of_facts(evidence) if evidence else None
    if warning is None:
        return Text()
    mark, style = ("✗", palette.BAD) if warning.wrong_tool else ("!", f"bold {palette.WARNING}")
    lines = ", ".join(map(str, warning.lines))
    return Text.assemble((f"{mark} ", style), warning.message, (f" Lines {lines}.", "dim"))


def format_suggestions(evidence: Evidence | None) -> Text:
    """Format what else the data suggests: reinforcement where answers are verifiable."""
    if evidence is None or evidence.rft is None:
        return Text()
    text = Text.assemble(("What the data suggests\n", "bold"))
    where = f"Offered by {', '.join(evidence.rft.where)}." if evidence.rft.where else ""
    words = f"{evidence.rft.reason} {evidence.rft.caution} {where}"
    return text.append("  · ", "dim").append(words.rstrip())


def format_recommendation(recommendation: Recommendation, evidence: Evidence | None) -> Text:
    """Format the provider to try first, then the best in general if that is another one, with
    reasons and cautions; evidence in the data outweighs an answer."""
    text = Text()
    contradicted = evidence is not None and warn_of_facts(evidence)
    if recommendation.fit and (recommendation.wrong_tool or not contradicted):
        mark, style = ("✗", palette.BAD) if recommendation.wrong_tool else ("✓", palette.GOOD)
        text.append(f"{mark} ", style).append(f"{recommendation.fit}\n")
    best = provider_advice.format_provider(recommendation.provider, recommendation.platform)
    if recommendation.blocked:
        text.append("✗ ", palette.BAD).append(f"{recommendation.blocked}\n")
        text.append("  ~ ", "dim").append("Closest: ").append(best, "bold").append(".\n")
        return text.append_text(_format_arguments(recommendation))
    text.append_text(_format_first(recommendation))
    if recommendation.starts_with_the_best:
        return text.append_text(_format_arguments(recommendation))
    _append_list(text, "+", recommendation.first.reasons)
    _append_list(text, "-", recommendation.first.cautions)
    label = catalog().need(recommendation.size).label
    text.append(f"\nIf you need a model {label}, best in general: ").append(best, "bold").append(
        "\n"
    )
    return text.append_text(_format_arguments(recommendation))


def _format_first(recommendation: Recommendation) -> Text:
    """Format the provider to try first, and what it still needs before it can start."""
    first = recommendation.first
    here = " on this machine" if first.provider == "local" else ""
    name = provider_advice.format_provider(first.provider, first.platform)
    text = Text.assemble(("→ ", palette.ACCENT), (f"{name}{here}", "bold"))
    text.append(" is recommended." if recommendation.starts_with_the_best else ": try this first.")
    if not first.problem:
        return text.append(" It can start now.\n")
    text.append("\n  ! ", f"bold {palette.WARNING}")
    return text.append(f"{first.problem}\n")


def _format_arguments(recommendation: Recommendation) -> Text:
    """Format what speaks for and against the provider that is the best in general."""
    text = Text()
    _append_list(text, "+", recommendation.reasons)
    _append_list(text, "✗", recommendation.ruled_out)
    _append_list(text, "-", recommendation.cautions)
    if close := recommendation.close_to:
        _append_list(text, "~", [f"{catalog().provider(close).name} is nearly as good here."])
    return text


def format_instead(
    recommendation: Recommendation,
    provider: ProviderId,
    costs: Sequence[ProviderCost],
    platform: HostedProvider | None = None,
) -> Text:
    """Format the consequences of choosing another provider: first whether it can start, then money.

    ``platform``: the chosen cloud service.
    """
    chosen, loss = catalog().provider(provider), recommendation.costs_of[provider]
    text = Text.assemble((f"Choosing {chosen.name} instead\n", "bold"))
    is_asked = platform in (None, recommendation.cloud)
    if is_asked and (problem := recommendation.start_problems.get(provider, "")):
        text.append("  ! ", f"bold {palette.WARNING}").append(f"{problem}\n")
    cost_of = {cost.provider: cost for cost in costs}
    if costs:
        baseline = cost_of[recommendation.first.provider]
        money = provider_costs.compare_costs(cost_of[provider], baseline)
        _append_list(text, "·", [money] if money else [])
    _append_list(text, "·", [loss])
    return text


def format_factors(recommendation: Recommendation, provider: ProviderId) -> Text:
    """Format a provider's six factors."""
    chosen = catalog().provider(provider)
    text = Text.assemble((f"{chosen.name}\n", "bold"))
    for factor, label in catalog().factors.items():
        platform = recommendation.cloud if provider == "cloud" else None
        claim = chosen.claims(factor, platform)[0]
        text.append(f"  {label:<{_LABEL_WIDTH}}", "dim").append(f"{claim.statement}\n")
    return text


def format_flips(recommendation: Recommendation) -> Text:
    """Format what would change the recommendation, or unblock a provider; empty if nothing would."""
    text = Text()
    if recommendation.blocked:
        text.append("One of these has to change\n", "bold")
        _append_list(text, "·", recommendation.changes)
    elif recommendation.flips:
        subject = (
            "the recommendation" if recommendation.starts_with_the_best else "the best in general"
        )
        text.append(f"What would change {subject}\n", "bold")
        _append_list(text, "·", recommendation.flips)
    return text


def _append_list(text: Text, mark: str, lines: Iterable[str]) -> None:
    for line in lines:
        text.append(f"  {mark} ", "dim").append(f"{line}\n")


def format_costs(
    recommendation: Recommendation,
    provider: ProviderId,
    findings: DataFindings,
    width: int,
    more: str,
) -> Text:
    """Format each provider's cost for the data, or in general; ``provider`` is the chosen one."""
    of_rows = findings.costs or findings.counting
    title = "Training cost for your data" if of_rows else "Training cost"
    hang = INDENT + _NAME_WIDTH + 2 if width >= _WIDE else INDENT + 2
    parts = [Text.assemble((title, "bold"))]
    for id, text in _list_costs(recommendation, findings):
        mark = "→" if id == recommendation.first.provider and not recommendation.blocked else " "
        line = Text.assemble((f"  {mark} ", palette.ACCENT))
        line.append(
            f"{catalog().provider(id).name:<{_NAME_WIDTH}}  ", "bold" if id == provider else ""
        )
        parts.append(layout.wrap_hanging(line.append_text(text), hang, width))
    parts.append(layout.wrap_hanging(Text(f"  {_describe_basis(findings, more)}", "dim"), 2, width))
    if findings.own_left_out:
        warning = Text.assemble(("  ! ", f"bold {palette.WARNING}"), LEFT_OUT)
        parts.append(layout.wrap_hanging(warning, INDENT, width))
    return Text("\n").join(parts)


def _list_costs(
    recommendation: Recommendation, findings: DataFindings
) -> Iterator[tuple[ProviderId, Text]]:
    """Yield each provider with its cost, a placeholder, or its general price."""
    if findings.costs:
        yield from _list_priced(findings.costs)
    elif findings.counting:
        yield from ((provider.id, Text("…", "dim")) for provider in catalog().providers)
    else:
        yield from _list_general_prices(recommendation)


def _describe_basis(findings: DataFindings, more: str) -> str:
    """Describe what the costs are based on."""
    if findings.costs:
        tokens = f"{findings.tokens[:1].upper()}{findings.tokens[1:]}"
        hours = f"; GPU hours are for {findings.model}" if findings.model else ""
        return f"{tokens}. Cheapest offer per provider{hours}; {more}."
    if findings.counting:
        return COUNTING
    return NO_ROWS if findings.evidence else NOT_READ


def _list_priced(costs: Sequence[ProviderCost]) -> Iterator[tuple[ProviderId, Text]]:
    room = max(cell_len(cost.amount) for cost in costs)
    for cost in costs:
        quiet = "dim" if cost.why_not else ""
        yield (
            cost.provider,
            Text.assemble((f"{cost.amount:>{room}}", quiet or "bold"), "  ", cost.details),
        )


def _list_general_prices(recommendation: Recommendation) -> Iterator[tuple[ProviderId, Text]]:
    """Yield the price of a unit of training on each provider, newest first."""
    for provider in catalog().providers:
        claims = provider.claims("cost", recommendation.cloud if provider.id == "cloud" else None)
        free = provider.id == "local" == recommendation.first.provider
        rented = "no rent on this machine; " if free else ""
        yield provider.id, Text(f"{rented}{_format_claims(claims)}")


def _format_claims(claims: ProviderFacts) -> str:
    return "; ".join(f"{claim.statement}, {claim.as_of}" for claim in claims)


def format_comparison(recommendation: Recommendation, provider: ProviderId, width: int) -> Text:
    """Format the six factors of the providers in columns; the chosen one is bold."""
    room = (width - _LABEL_WIDTH - 2) // len(catalog().providers) - 2
    platform = recommendation.cloud
    head = Text(" " * (_LABEL_WIDTH + 2))
    for column in catalog().providers:
        is_first = column.id == recommendation.first.provider and not recommendation.blocked
        mark = "→ " if is_first else ""
        name = Text(f"{mark}{column.name}", "bold" if column.id == provider else "dim")
        head.append_text(_pad(name, room)).append("  ")
    lines = [Text("Comparison", "bold"), head]
    console = Console(width=room)
    for factor, label in catalog().factors.items():
        cells = [
            Text(
                column.claims(factor, platform if column.id == "cloud" else None)[0].statement
            ).wrap(console, room)
            for column in catalog().providers
        ]
        for number in range(max(map(len, cells))):
            line = Text.assemble((f"  {'' if number else label:<{_LABEL_WIDTH}}", "dim"))
            for cell in cells:
                part = cell[number] if number < len(cell) else Text()
                line.append_text(_pad(part, room)).append("  ")
            lines.append(line)
    for line in lines:
        line.rstrip()
    return Text("\n").join(lines)


def format_sources(recommendation: Recommendation, today: datetime.date) -> Text:
    """Format the sources and dates of the claims. The most frequent source comes last, as
    “everything else”."""
    labels: dict[tuple[str, str], dict[str, list[str]]] = {}
    for factor, label in catalog().factors.items():
        for provider in catalog().providers:
            claims = provider.claims(
                factor, recommendation.cloud if provider.id == "cloud" else None
            )
            for claim in claims if factor == "cost" else claims[:1]:  # all cost claims are shown
                names = labels.setdefault((claim.date(today), claim.source), {})
                names.setdefault(f"{label[0].lower()}{label[1:]}", []).append(provider.name)
    for need in catalog().needs:
        names = labels.setdefault((need.as_of, need.source), {})
        names.setdefault("GPU by model size", []).append(need.label)
    (first, _), *rest = sorted(labels.items(), key=lambda item: -len(item[1]))
    text = Text("Sources\n", "bold")
    for (date, source), names in rest:
        which = ", ".join(f"{name} ({', '.join(path_names)})" for name, path_names in names.items())
        text.append("  · ", "dim").append(f"{which}: {source}; {date}\n", "dim")
    text.append("  · ", "dim").append(f"everything else: {first[1]}; {first[0]}", "dim")
    if any(date.endswith("!") for date, _ in labels):
        text.append(f"; !: a price over {STALE_DAYS} days old", "dim")
    return text


def _pad(text: Text, room: int) -> Text:
    text.rstrip()
    text.truncate(room, overflow="ellipsis", pad=True)
    return text
