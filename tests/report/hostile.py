"""Words that try to be something else than words, as prompts, ids, tags and reasons."""

from __future__ import annotations

from nanobatch import Candidate, Job, Verdict

SCRIPT = "<script>document.title = 'hacked'</script>"
CLOSING = "</script><script>document.title = 'hacked'</script><!-- <script>"
ATTRIBUTE = "\"'><img src=x onerror=\"document.title = 'hacked'\">"
RIGHT_TO_LEFT = "\u202egnp.exe\u202c שלום עולם \u2066\u0645\u0631\u062d\u0628\u0627\u2069"
EMOJI = "👩‍🎨🏳️‍🌈 e\u0301 \U0001d518\U0001d52b"
LINES = "one\u2028two\u2029three\r\nfour\ttab\x0b\x0c\x7f\ufeff"
TEMPLATE = "{{ 7 * 7 }} {% raw %} ${7 * 7} &lt;b&gt; &amp;"
URL = "javascript:document.title='hacked'//%2e%2e?#/../.."
LONG = "all work and no play " * 5_000

WORDS = (SCRIPT, CLOSING, ATTRIBUTE, RIGHT_TO_LEFT, EMOJI, LINES, TEMPLATE, URL)


def jobs() -> list[Job]:
    """Return jobs that are hostile in their id, prompt and tag, each as short as it can be."""
    return [
        *(Job(id=f"{word} {n}", prompt=word, tag=word) for n, word in enumerate(WORDS)),
        Job(id="long", prompt=LONG, tag="long"),
    ]


class RepeatsPrompt:
    """Rejects the first image of every job, in the words of its prompt."""

    name = ATTRIBUTE

    def __init__(self) -> None:
        self._seen: set[str] = set()

    def __call__(self, candidate: Candidate) -> Verdict:
        if candidate.job.id in self._seen:
            return Verdict.accept()
        self._seen.add(candidate.job.id)
        return Verdict.reject(candidate.job.prompt)
