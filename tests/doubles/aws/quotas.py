"""Service quotas and the price list, as far as Bedrock is concerned."""

from __future__ import annotations

import json
from typing import Any

from tests.doubles.aws.calls import Call
from tests.doubles.aws.errors import AwsError, Reply, write_json
from tests.doubles.aws.state import AwsState


def list_quotas(state: AwsState, call: Call) -> Reply:
    """Answer ListServiceQuotas."""
    if (call.body or {}).get("ServiceCode") != "bedrock":
        raise AwsError(400, "NoSuchResourceException", "The specified service does not exist.")
    scenario = state.scenario
    values = {
        "Custom models per account": 100,
        "Scheduled customization jobs": scenario.max_active_jobs,
        "Total custom model deployments": scenario.max_deployments,
        "In-progress custom model deployments": scenario.max_new_deployments,
        "On-demand custom model deployment requests per minute": scenario.requests_per_minute or 4,
    }
    for model in scenario.models:
        if model.methods and model.region == call.region:
            name = "Sum of training and validation records for a fine-tuning job"
            values[f"(Model customization) {name} for {model.name}"] = model.max_rows
    quotas = [
        {
            "ServiceCode": "bedrock",
            "ServiceName": "Amazon Bedrock",
            "QuotaName": name,
            "QuotaCode": f"L-{number:08X}",
            "Value": float(value),
            "Adjustable": "per account" in name,
            "GlobalQuota": False,
            "Unit": "None",
        }
        for number, (name, value) in enumerate(values.items(), 1)
    ]
    return write_json({"Quotas": quotas})


def list_products(state: AwsState, call: Call) -> Reply:
    """Answer GetProducts: training and storage by their usage types, as texts of JSON."""
    filters = {each["Field"]: each["Value"] for each in (call.body or {}).get("Filters", [])}
    wanted = filters.get("usagetype")
    products = [
        json.dumps(_write_product(usage, price))
        for usage, price in state.scenario.prices.items()
        if wanted in (None, usage)
    ]
    return write_json({"FormatVersion": "aws_v1", "PriceList": products})


def _write_product(usage: str, price: float) -> dict[str, Any]:
    unit = "1K tokens" if "Training" in usage else "model-month"
    dimension = {"unit": unit, "pricePerUnit": {"USD": f"{price:.10f}"}}
    terms = {"OnDemand": {"double": {"priceDimensions": {"double.1": dimension}}}}
    return {
        "product": {"attributes": {"usagetype": usage, "servicecode": "AmazonBedrock"}},
        "terms": terms,
    }


HANDLERS = {"list_service_quotas": list_quotas, "get_products": list_products}
