"""The page in a real browser: it says nothing, sends nothing, and can be used without a mouse."""

from __future__ import annotations

import select
import shutil
import socket
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from axe_playwright_python.sync_playwright import Axe  # type: ignore[import-untyped]  # has none

from nanobatch import Checkpoint, Job, Route, StopRule
from nanobatch.filters import NotBlank
from nanobatch.report import write_html
from tests.report import hostile
from tests.report.chromium import chromium, opened
from tests.report.pages import read_page
from tests.support import pipeline_on, simulator

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from pathlib import Path

    from playwright.sync_api import Browser, Page

    from nanobatch import RunResult
    from nanobatch.simulator import Call

VIEWS = ("images", "cost", "prompts")


@dataclass(frozen=True)
class Story:
    """A run with a bit of everything, and its page."""

    folder: Path
    page: Path

    @property
    def items(self) -> list[dict[str, Any]]:
        return read_page(self.page).items


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Story:
    """Draw twelve foxes and owls, of which the blank ones are rejected, and three posters."""

    async def run() -> None:
        def accept_rate(call: Call) -> float:
            return 0.0 if "blank" in call.prompt or call.nth == 0 else 1.0

        jobs = [
            *(
                Job(id=f"fox-{n}", prompt=f"a red fox {n}", tag="fox", route=Route.LITE)
                for n in range(6)
            ),
            *(Job(id=f"owl-{n}", prompt=f"a grey owl {n}", tag="owl") for n in range(6)),
            Job(id="void", prompt="blank paper", tag="owl", route=Route.LITE),
            *(Job(id=f"poster-{n}", prompt=f"map {n}", route=Route.FINISH) for n in range(3)),
        ]
        async with simulator(accept_rate=accept_rate, regenerate_rate=0.1) as server:
            await pipeline_on(
                server, folder, filters=[NotBlank()], stop=StopRule(4), concurrency=1
            ).run(jobs)

    folder = tmp_path_factory.mktemp("story") / "run"
    anyio.run(run)
    return Story(folder, write_html(folder, folder.parent / "run.html"))


@pytest.fixture(scope="module")
def hostile_page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the page of a run whose ids, prompts, tags and reasons try to be code."""

    async def run() -> None:
        async with simulator(pixels=0.0625) as server:
            judge = hostile.RepeatsPrompt()
            await pipeline_on(server, folder, filters=[judge], route="lite", concurrency=1).run(
                hostile.jobs()
            )

    folder = tmp_path_factory.mktemp("hostile") / "run"
    anyio.run(run)
    return write_html(folder, folder / "report.html", title=hostile.ATTRIBUTE)


@pytest.fixture(scope="module")
def browser(story: Story, hostile_page: Path) -> Generator[Browser]:
    """Start a browser after all runs: an event loop cannot be started while it is there."""
    with chromium() as started:
        yield started


def keys(page: Page) -> list[str]:
    """Return the keys of the images that have a tile."""
    found: list[str] = page.evaluate(
        "[...document.querySelectorAll('.tile')].map((tile) => tile.item.key)"
    )
    return found


def test_every_tab_shows_the_images_of_its_verdict(browser: Browser, story: Story) -> None:
    with opened(browser, story.page) as watched:
        for verdict in ("accepted", "rejected", "held", "aside", "failed"):
            watched.page.locator(f".verdicts .{verdict}").click()

            assert keys(watched.page) == [
                item["key"] for item in story.items if item["verdict"] == verdict
            ]
        watched.page.locator(".verdicts .all").click()
        assert keys(watched.page) == [item["key"] for item in story.items]

    assert watched.complaints == []


def test_tag_tier_filter_and_words_narrow_what_is_shown(browser: Browser, story: Story) -> None:
    jobs = read_page(story.page).jobs

    def fitting(fits: Callable[[dict[str, Any], dict[str, Any]], bool]) -> list[str]:
        return [item["key"] for item in story.items if fits(item, jobs[item["job"]])]

    with opened(browser, story.page) as watched:
        page = watched.page
        page.locator(".verdicts .all").click()
        page.select_option("[name=tag]", "owl")
        assert keys(page) == fitting(lambda _, job: job["tag"] == "owl")
        page.select_option("[name=tag]", "")
        page.select_option("[name=tier]", "quality")
        assert keys(page) == fitting(lambda item, _: item.get("tier") == "quality")
        page.select_option("[name=tier]", "")
        page.select_option("[name=filter]", "not_blank")
        assert keys(page) == fitting(lambda item, _: item.get("filter") == "not_blank")
        page.select_option("[name=filter]", "")
        page.fill("[name=text]", "RED fox 3")
        shown = fitting(lambda _, job: job["prompt"] == "a red fox 3")
        assert keys(page) == shown
        assert page.inner_text("#count") == f"{len(shown)} of {len(story.items)} shown"
        page.fill("[name=text]", "no such words")
        assert keys(page) == []


def test_an_opened_image_is_the_full_one_with_its_prompt_and_cost(
    browser: Browser, story: Story
) -> None:
    with Checkpoint.read(story.folder) as checkpoint:
        first = next(iter(checkpoint.images()))

    with opened(browser, story.page) as watched:
        page = watched.page
        page.locator(".open").first.click()
        page.wait_for_function(
            f"document.querySelector('.picture img').naturalWidth === {first.width_px}"
        )
        shown = page.inner_text("#detail")

    assert first.prompt in shown
    assert f"USD {first.usd:.4f}" in shown
    assert first.model_id in shown
    assert watched.requests == [story.page.as_uri(), first.path.as_uri()]
    assert watched.complaints == []


def test_a_finish_leads_to_its_draft_and_back(browser: Browser, story: Story) -> None:
    with opened(browser, story.page) as watched:
        page = watched.page
        page.fill("[name=text]", "poster-0")
        page.locator(".open").first.click()
        assert "draft and finish together" in page.inner_text("#detail dl")
        page.locator("h3:text('Made from this draft') + ul button").first.click()
        assert "draft that went into a finish" in page.inner_text("#detail .reason")
        page.locator("h3:text('Finished as') + ul button").first.click()
        assert "finish" in page.inner_text("#detail dl")


def test_everything_works_from_the_keyboard(browser: Browser, story: Story) -> None:
    with opened(browser, story.page) as watched:
        page = watched.page
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.textContent") == "Skip to the images"
        for _ in range(30):
            if page.evaluate("document.activeElement.name") == "verdict":
                break
            page.keyboard.press("Tab")
        page.keyboard.press("ArrowRight")
        assert page.evaluate("document.activeElement.value") == "rejected"
        page.keyboard.press("ArrowLeft")
        first, second, third = keys(page)[:3]

        page.locator(".open").first.focus()
        page.keyboard.press("ArrowRight")
        assert page.evaluate("document.activeElement.closest('.tile').item.key") == second
        page.keyboard.press("Enter")
        assert page.evaluate("document.getElementById('detail').open")
        page.keyboard.press("ArrowRight")
        title = page.inner_text("#detail-title")
        page.keyboard.press("Escape")
        assert not page.evaluate("document.getElementById('detail').open")
        assert page.evaluate("document.activeElement.closest('.tile').item.key") == third
        assert page.inner_text(":focus .name") == title

        page.keyboard.press("Tab")
        page.keyboard.press("Space")
        assert page.inner_text("#selection p") == "1 selected"
        assert first != third


def test_the_copied_code_finishes_what_was_selected(browser: Browser, story: Story) -> None:
    with opened(browser, story.page) as watched:
        page = watched.page
        watched.context.grant_permissions(["clipboard-read", "clipboard-write"])
        page.fill("[name=text]", "fox")
        for tile in page.locator(".pick").all()[:2]:
            tile.click()
        page.click("#show-code")
        page.click("#copy")
        page.wait_for_function("document.querySelector('#code [role=status]').textContent")
        code = page.evaluate("navigator.clipboard.readText()")
    chosen = [item for item in story.items if item["verdict"] == "accepted"][:2]
    jobs = read_page(story.page).jobs

    result = _run_code(code, story.folder)

    assert sorted(result.jobs) == sorted(
        f"{jobs[item['job']]['id']}-{item['number']}-finished" for item in chosen
    )
    assert [image.tier for image in result.images] == ["quality", "quality"]


def _run_code(code: str, folder: Path) -> RunResult:
    """Run copied code as the body of a coroutine that has a pipeline."""
    body = "\n".join(f"    {line}" for line in code.splitlines())
    found: dict[str, Any] = {}
    exec(f"async def finish(pipeline):\n{body}\n    return result", found)  # noqa: S102 - it is ours

    async def run() -> RunResult:
        async with simulator() as server:
            pipeline = pipeline_on(server, folder, filters=[NotBlank()])
            result: RunResult = await found["finish"](pipeline)
            return result

    results: list[RunResult] = []
    thread = threading.Thread(target=lambda: results.append(anyio.run(run)))
    thread.start()
    thread.join()
    return results[0]


@pytest.mark.parametrize("view", VIEWS)
def test_hostile_words_do_nothing(browser: Browser, hostile_page: Path, view: str) -> None:
    with opened(browser, hostile_page) as watched:
        page = watched.page
        title = page.title()
        page.click(f".views a[href='#{view}']")
        if view == "images":
            page.locator(".verdicts .all").click()
            page.locator(".open").first.click()
            for _ in range(len(hostile.WORDS) * 2):
                page.keyboard.press("ArrowRight")
            assert page.inner_text("#detail .prompt").startswith("all work and no play")
            page.keyboard.press("Escape")
            page.locator(".verdicts .accepted").click()
            for tile in page.locator(".pick").all():
                tile.click()
            page.click("#show-code")
        assert page.title() == title

    assert watched.complaints == []
    inside = hostile_page.parent.as_uri()
    assert [url for url in watched.requests if not url.startswith(inside)] == []


def test_ids_with_odd_characters_are_the_same_in_the_copied_code(
    browser: Browser, hostile_page: Path
) -> None:
    with opened(browser, hostile_page) as watched:
        page = watched.page
        for tile in page.locator(".pick").all():
            tile.click()
        page.click("#show-code")
        code = page.text_content("#code code") or ""

    found: dict[str, Any] = {}
    exec(code[code.index("chosen = ") : code.index("with Checkpoint")], found)  # noqa: S102 - ours
    assert found["chosen"] == {(job.id, 1) for job in hostile.jobs()}
    assert "\u202e" not in code  # it would show the code in another order than Python reads it


LEAVING = """async (url) => {
    window.stopped = new Set();
    addEventListener("securitypolicyviolation", (event) => stopped.add(event.effectiveDirective));
    new Image().src = `${url}/picture`;
    await fetch(`${url}/fetch`).catch(() => {});
    navigator.sendBeacon(`${url}/beacon`);
    const script = document.createElement("script");
    script.append("document.title = 'hacked'");
    document.body.append(script);
    document.body.append(document.createElement("p"));
    document.body.lastChild.setAttribute("style", "color: red");
}"""


def test_the_policy_stops_what_would_leave_the_page(browser: Browser, story: Story) -> None:
    wanted = {"img-src", "connect-src", "require-trusted-types-for", "style-src-attr"}
    with (
        socket.create_server(("127.0.0.1", 0)) as listening,
        opened(browser, story.page) as watched,
    ):
        page = watched.page
        title = page.title()
        page.evaluate(LEAVING, f"http://127.0.0.1:{listening.getsockname()[1]}")
        page.wait_for_function("(wanted) => wanted.every((one) => stopped.has(one))", arg=[*wanted])

        assert page.title() == title
        assert select.select([listening], [], [], 0)[0] == []  # nobody has called


def test_a_page_that_was_moved_away_shows_thumbnails_and_says_so(
    browser: Browser, story: Story, tmp_path: Path
) -> None:
    moved = tmp_path / "moved.html"
    shutil.copy(story.page, moved)

    with opened(browser, moved) as watched:
        page = watched.page
        page.locator(".open").first.click()
        page.wait_for_function("document.querySelector('.picture .note').textContent")

        assert "not to be found from here: run/images/" in page.inner_text(".picture .note")
        assert page.evaluate("document.querySelector('.picture img').naturalWidth") == 256


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [1440, 390])
def test_axe_finds_nothing(browser: Browser, story: Story, width: int, dark: bool) -> None:
    axe = Axe()
    found: dict[str, str] = {}
    with opened(browser, story.page, width=width, dark=dark) as watched:
        page = watched.page

        def check(place: str) -> None:
            results = axe.run(page)
            if results.violations_count:
                found[place] = results.generate_report()

        page.locator(".verdicts .all").click()
        for view in VIEWS:
            page.click(f".views a[href='#{view}']")
            check(view)
        page.click(".views a[href='#images']")
        page.locator(".open").first.click()
        check("detail")
        page.keyboard.press("Escape")
        page.locator(".pick").first.click()
        page.click("#show-code")
        check("code")

    assert found == {}


def test_nothing_is_wider_than_a_phone(browser: Browser, story: Story) -> None:
    with opened(browser, story.page, width=360, height=740) as watched:
        for view in VIEWS:
            watched.page.click(f".views a[href='#{view}']")

            assert watched.page.evaluate("document.documentElement.scrollWidth") == 360
