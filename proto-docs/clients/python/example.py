"""Searches packages by what they do: python3 example.py ENDPOINT COLLECTION words…"""
import sys

from matryoshka_client import Client

endpoint, collection, words = sys.argv[1], sys.argv[2], " ".join(sys.argv[3:])
with Client(endpoint) as client:
    reply = client.search(collection, text=words, k=5)
for hit in reply.hits[0]:
    print(f"{hit['score']:.4f}  {hit['id']}")
print(f"{reply.header['timings']['total_us'] / 1000:.2f} ms, plan {reply.header['plan']}")
