"""The app object that the Functions worker indexes: every blueprint, in a fixed order."""

import azure.durable_functions as df
import azure.functions as func

from function_app.activities import evaluate, issue_grant, notify, open_review, tally
from function_app.blueprints import agents, edges, health, operations, pages, policies, reviews, sessions
from function_app.orchestrators import adjudicate

app = df.DFApp(http_auth_level=func.AuthLevel.ANONYMOUS)

for blueprint in (
    operations.blueprint,
    edges.blueprint,
    reviews.blueprint,
    policies.blueprint,
    sessions.blueprint,
    agents.blueprint,
    pages.blueprint,
    health.blueprint,
    adjudicate.blueprint,
    evaluate.blueprint,
    open_review.blueprint,
    notify.blueprint,
    tally.blueprint,
    issue_grant.blueprint,
):
    app.register_functions(blueprint)
