"""A web service: images are made in the background, within a budget for each user.

Run it with `uvicorn --app-dir examples --factory web_service:service`; it uses the simulator.
"""

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Annotated

import anyio
from fastapi import FastAPI, Header, HTTPException

from nanobatch import Budget, Checkpoint, Gemini, Job, TwoTierPipeline
from nanobatch.simulator import Simulator

USERS = {"key-of-anna": "anna", "key-of-ben": "ben"}
LIMIT_USD, FULL_USD = 0.50, 0.35  # a user's budget for good; from here a call might not fit
Key = Annotated[str, Header(alias="X-Api-Key", pattern=f"^({'|'.join(USERS)})$")]


def service(folder: str = "out/web") -> FastAPI:
    """Return the application; each user has a checkpoint, and one run at a time on it."""
    users: dict[str, tuple[Checkpoint, TwoTierPipeline, anyio.Lock]] = {}

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncGenerator[None]:
        async with Simulator(seed=7, accept_rate=0.7) as server, AsyncExitStack() as stack:
            backend = Gemini(api_key="sim", base_url=server.base_url)  # the real API: Gemini()
            await stack.enter_async_context(backend)
            for key, user in USERS.items():
                opened = await stack.enter_async_context(Checkpoint.open(f"{folder}/{user}"))
                pipeline = TwoTierPipeline(backend, checkpoint=opened, budget=Budget(LIMIT_USD))
                users[key] = opened, pipeline, anyio.Lock()
            app.state.tasks = await stack.enter_async_context(anyio.create_task_group())
            yield
            app.state.tasks.cancel_scope.cancel()  # what is in flight is saved, for up to 30 s

    async def make(key: str, job: Job) -> None:
        _, pipeline, turn = users[key]
        async with turn:
            await pipeline.run([job])

    app = FastAPI(lifespan=lifespan)

    @app.post("/jobs", status_code=202)
    async def post(job: Job, key: Key) -> None:
        if job.references:
            raise HTTPException(422, "References are files of this machine, not of yours.")
        if users[key][0].job(job.id) not in (None, job):
            raise HTTPException(409, "This id is another job of yours; take a new one.")
        if users[key][0].spend.worst_case_usd > FULL_USD:
            raise HTTPException(402, {"error": "budget used up", "limit_usd": LIMIT_USD})
        app.state.tasks.start_soon(make, key, job)

    @app.get("/jobs")
    async def get(key: Key) -> dict[str, tuple[str, list[str]]]:
        jobs = users[key][0].jobs()
        return {job.id: (job.status, [image.path.name for image in job.images]) for job in jobs}

    return app
