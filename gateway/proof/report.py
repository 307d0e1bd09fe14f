"""A proof as a document: Markdown, or one HTML page that needs nothing else and is read by day and by night."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from typing import Final

from gateway.proof import catalogue, feeds
from gateway.proof.run import TIERS, Proof, Result

MEANS: Final = {
    "none": "What failed below is between this system and bronze.",
    "bronze": "It answers as its contract says, and fails cleanly.",
    "silver": "It also survives what networks and systems do: lost connections, floods, slowness, odd documents.",
    "gold": "It also counts drift, keeps sessions, bears load, and never does a write twice.",
}
_MARK: Final = {"pass": "pass", "fail": "FAIL", "not applicable": "n/a"}


def markdown(proof: Proof) -> str:
    return "\n".join(_markdown(proof)) + "\n"


def headline(proof: Proof) -> str:
    if not proof.complete:
        return f"{len(proof.results) - len(proof.failed)} of {len(proof.results)} chosen cases hold; a tier needs all of them"
    return f"tier {proof.tier}: {_counts(proof.results)}"


def _counts(results: Sequence[Result]) -> str:
    found = [(sum(r.verdict == v for r in results), said) for v, said in (("pass", "hold"), ("fail", "fail"), ("not applicable", "n/a"))]
    return ", ".join(f"{number} {said}" for number, said in found if number)


def _markdown(proof: Proof) -> Iterator[str]:
    yield f"# {proof.system}: {'tier ' + proof.tier if proof.complete else 'chosen cases'}"
    yield ""
    yield f"System `{proof.system}` ({proof.protocol}) of estate `{proof.estate}`, {proof.at:%Y-%m-%d %H:%M} UTC, {proof.seconds:.0f} s."
    if proof.complete:
        yield MEANS[proof.tier]
    for tier in TIERS:
        own = [r for r in proof.results if r.tier == tier]
        if not own:
            continue
        yield from ("", f"## {tier.capitalize()}: {_counts(own)}", "")
        yield "| case | what was done | what was expected | what came | calls | seconds | |"
        yield "|---|---|---|---|--:|--:|---|"
        for r in own:
            cells = (f"`{r.case}`", r.did, r.expected, r.came, str(r.calls), f"{r.seconds:.2f}", _MARK[r.verdict])
            yield "| " + " | ".join(_cell(c) for c in cells) + " |"
    yield from ("", "## The stand-in", "", "| operation | answered from |", "|---|---|")
    for operation, source in proof.sources.items():
        yield f"| `{operation}` | {_cell(source)} |"
    if proof.notes:
        yield from ("", *(f"- {_cell(n)}" for n in proof.notes))


def _cell(text: str) -> str:
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;").replace("\n", " ").replace("\r", " ")


_STYLE: Final = """
:root { color-scheme: light dark;
  --ground: light-dark(#fbfbfa, #16181c); --card: light-dark(#ffffff, #1e2127); --ink: light-dark(#1d2126, #e4e6ea);
  --soft: light-dark(#5c6570, #9aa3ae); --line: light-dark(#e2e4e8, #32363e); --good: light-dark(#17663a, #6fcf97);
  --bad: light-dark(#a3201d, #ff8a80); --bad-ground: light-dark(#fdeeed, #3a2021); --chip: light-dark(#eef0f3, #2a2e36);
  --bronze: light-dark(#8a5a2b, #d9a066); --silver: light-dark(#5c6b7a, #b8c4d0); --gold: light-dark(#8a6d00, #f0cc50); }
* { box-sizing: border-box; }
body { margin: 0; padding: 2rem 1rem 4rem; background: var(--ground); color: var(--ink); font: 15px/1.5 system-ui, sans-serif; }
main { max-width: 76rem; margin: auto; }
h1 { font-size: 1.7rem; margin: 0 0 .25rem; } h2 { font-size: 1.15rem; margin: 2.2rem 0 .6rem; }
p { margin: .3rem 0; color: var(--soft); max-width: 60rem; }
.tier { display: inline-block; padding: .1rem .7rem; border: 2px solid currentColor; border-radius: 99px; font-size: 1.1rem; }
.none { color: var(--soft); } .bronze { color: var(--bronze); } .silver { color: var(--silver); } .gold { color: var(--gold); }
.wide { overflow-x: auto; border: 1px solid var(--line); border-radius: .5rem; background: var(--card); }
table { border-collapse: collapse; width: 100%; min-width: 52rem; }
th, td { padding: .45rem .7rem; text-align: left; vertical-align: top; border-top: 1px solid var(--line); overflow-wrap: anywhere; }
thead th { border-top: 0; white-space: nowrap; color: var(--soft); font-weight: 600; font-size: .85rem; }
td.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
code { font: .9em ui-monospace, monospace; background: var(--chip); padding: .1em .35em; border-radius: .25rem; white-space: nowrap; }
tr.fail { background: var(--bad-ground); } td.v { font-weight: 600; white-space: nowrap; }
.pass td.v { color: var(--good); } .fail td.v { color: var(--bad); } .na td.v { color: var(--soft); }
ul { color: var(--soft); }
"""


def html(proof: Proof) -> str:
    return "\n".join(_html(proof)) + "\n"


def _html(proof: Proof) -> Iterator[str]:
    name, tier = escape(proof.system), proof.tier if proof.complete else "none"
    said = proof.tier if proof.complete else "chosen cases"
    yield f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{name}: {said}</title>'
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">'
    yield f"<style>{_STYLE}</style></head><body><main>"
    yield f'<h1>{name} <span class="tier {tier}">{said}</span></h1>'
    yield (
        f"<p>{escape(proof.protocol)} system of the estate {escape(proof.estate)}, "
        f"{proof.at:%Y-%m-%d %H:%M} UTC, {proof.seconds:.0f} s: {escape(_counts(proof.results))}</p>"
    )
    if proof.complete:
        yield f"<p>{escape(MEANS[proof.tier])}</p>"
    for each in TIERS:
        own = [r for r in proof.results if r.tier == each]
        if own:
            yield f'<h2><span class="{each}">{each.capitalize()}</span>: {escape(_counts(own))}</h2>'
            yield from _table(own)
    yield '<h2>The stand-in</h2><div class="wide"><table><thead><tr><th>operation</th><th>answered from</th></tr></thead><tbody>'
    for operation, source in proof.sources.items():
        yield f"<tr><td><code>{escape(operation)}</code></td><td>{escape(source)}</td></tr>"
    yield "</tbody></table></div>"
    if proof.notes:
        yield "<ul>" + "".join(f"<li>{escape(n)}</li>" for n in proof.notes) + "</ul>"
    yield "</main></body></html>"


def _table(results: Sequence[Result]) -> Iterator[str]:
    heads = "<th>case</th><th>what was done</th><th>what was expected</th><th>what came</th><th>calls</th><th>seconds</th><th></th>"
    yield f'<div class="wide"><table><thead><tr>{heads}</tr></thead><tbody>'
    for r in results:
        kind = {"not applicable": "na"}.get(r.verdict, r.verdict)
        yield (
            f'<tr class="{kind}"><td><code>{escape(r.case)}</code></td><td>{escape(r.did)}</td><td>{escape(r.expected)}</td>'
            f'<td>{escape(r.came)}</td><td class="n">{r.calls}</td><td class="n">{r.seconds:.2f}</td>'
            f'<td class="v">{_MARK[r.verdict]}</td></tr>'
        )
    yield "</tbody></table></div>"


def reference() -> str:
    """The manual's list of all cases."""
    parts = [
        "# Cases of a proof",
        "",
        "Generated from the catalogue: `./run publish` writes it anew. [Prove a system](../proving.md) explains it.",
    ]
    for title, cases in (("Systems that are called (soap, rest)", catalogue.CASES), ("Systems that drop files", feeds.CASES)):
        parts += ["", f"## {title}", "", "| tier | case | what is done | what is expected |", "|---|---|---|---|"]
        parts += [f"| {c.tier} | `{c.name}` | {_cell(c.did)} | {_cell(c.expected)} |" for c in cases]
    return "\n".join(parts) + "\n"
