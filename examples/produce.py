"""Submit one job: a credential for a graduate.

Needs a Redis: REDIS_URL, or the `Redis` line that `credstream up` prints.
"""

import asyncio

from credstream import QueueName, queue_manager


async def main() -> str:
    """Queue the job and answer its id."""
    queue = queue_manager.get_queue(QueueName.VC_ISSUANCE)
    job = await queue.add(
        "issue-credential",
        {
            "issuerDid": "did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK",
            "subjectDid": "did:key:z6MkpTHR8VNsBxYAAWHut2Geadd9jSwuBV8xRoAnwWsdvktH",
            "credentialType": "UniversityDegreeCredential",
            "claims": {
                "degree": "Bachelor of Science",
                "major": "Computer Science",
                "graduationYear": 2024,
            },
            "organizationId": "org-123",
            "userId": "user-456",
            "callbackUrl": "https://myapp.com/webhooks/vc-issued",
        },
    )
    print(f"Job enqueued: {job.id}")
    await queue_manager.close()
    return job.id


if __name__ == "__main__":
    asyncio.run(main())
