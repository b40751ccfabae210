"""Tells whether there is anything left to decide about a version, or carries out what a person decided."""

import json

from infra.errors import Refused
from infra.launch.work import Summary, Work, main
from infra.tracking.lookup import Lookup, Version
from infra.tracking.production import Production, production
from tasks.registry import promotion
from tasks.registry.config import DecisionConfig
from tasks.registry.standing import Standing


def work(job: Work[DecisionConfig]) -> Summary:
    """Fill standing.json. What was decided before is found and left as it is, so that any of this may happen twice."""
    config, look = job.config, Lookup(job.platform.tracking_uri)
    job.beat("looking up the version in production")
    one, now = look.version(f"{config.name}/{config.version}"), production(look, config.name)
    found = _standing(config, one, now)
    if config.act == "approve" and found.state != "in production":
        job.beat("moving the alias")
        promotion.promote(job.platform, one, now, config.who, comment=config.why)
        found = Standing(state="promoted", before=now.champion.number if now.champion else None, by=config.who)
    elif config.act == "refuse" and found.state is None:
        told = promotion.refuse(job.platform, one, config.who, config.why, config.verdict)
        found = _refusal(told)
    summary: Summary = found.model_dump(mode="json")
    (job.out / "standing.json").write_text(json.dumps(summary, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    return summary


def _standing(config: DecisionConfig, one: Version, now: Production) -> Standing:
    tags = one.tags
    if now.champion is not None and now.champion.number == one.number:
        by, at, why = (tags.get(tag, "") for tag in (promotion.BY, promotion.AT, promotion.WHY))
        return Standing(state="in production", by=by, at=at, why=why)
    if tags.get(promotion.REFUSED_VERDICT) == config.verdict:
        return _refusal(tags)
    back = tags.get(promotion.BACK_BY, "")
    note = f"taken back {tags[promotion.BACK_AT]} by {back}: {tags.get(promotion.BACK_WHY, '')}" if back else ""
    return Standing(note=note, hindrance=_hindrance(one, now))


def _hindrance(one: Version, now: Production) -> str:
    try:
        promotion.require_passed(one, now)
    except Refused as error:
        return f"{error.what} ({error.value}); {error.remedy}"
    return ""


def _refusal(tags: dict[str, str]) -> Standing:
    by, at, why = (tags.get(tag, "") for tag in (promotion.REFUSED_BY, promotion.REFUSED_AT, promotion.REFUSED_WHY))
    return Standing(state="refused", by=by, at=at, why=why)


if __name__ == "__main__":
    main(DecisionConfig, work)
