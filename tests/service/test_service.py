import pytest


def post(client, endpoint, **body):
    return client.post(f"/{endpoint}", json=body)


def test_fill(client):
    got = post(client, "fill_mask", texts=["Тэр <mask> уншдаг."], language="khk")
    print(got.json())
    assert got.status_code == 200


def test_fill2(client):
    got = post(client, "fill_mask", texts=["Тэр <mask> уншдаг."], language="khk")
    print(got.json())
    assert got.status_code == 200
