"""The main path with the real Python SDK against one address: the test bed sets ADDRESS and MODEL_URL.

Starts nothing itself and knows nothing of what answers at the address.
"""

import logging
import os
import unittest
import uuid

from copilot import CopilotClient, PermissionHandler, RuntimeConnection, Tool, ToolResult

ADDRESS = os.environ["ADDRESS"]
PROVIDER = {
    "type": "openai",
    "base_url": os.environ["MODEL_URL"],
    "api_key": "test-key",
    "wire_api": "completions",
}
TIMEOUT = 30.0

# send_and_wait first asks for a method that this CLI does not know, and logs the refusal each time.
for noisy in ("copilot", "asyncio"):
    logging.getLogger(noisy).setLevel(logging.CRITICAL)


def options(**extra):
    """What each create and resume needs to run without GitHub."""
    return {
        "model": "fake",
        "provider": PROVIDER,
        "on_permission_request": PermissionHandler.approve_all,
        **extra,
    }


def add(invocation):
    """The client tool: adds two numbers."""
    numbers = invocation.arguments
    return ToolResult(text_result_for_llm=str(numbers["a"] + numbers["b"]))


ADD = Tool(
    name="add",
    description="Adds two numbers",
    handler=add,
    parameters={
        "type": "object",
        "properties": {"a": {"type": "number"}, "b": {"type": "number"}},
        "required": ["a", "b"],
    },
    skip_permission=True,
)


class MainPath(unittest.IsolatedAsyncioTestCase):
    """What a product that embeds the SDK does with a session."""

    async def asyncSetUp(self):
        self.client = CopilotClient(connection=RuntimeConnection.for_uri(ADDRESS))
        await self.client.start()
        self.session_id = f"user-py-{uuid.uuid4().hex[:8]}"

    async def asyncTearDown(self):
        await self.client.stop()

    async def turn(self, session, prompt):
        answer = await session.send_and_wait(prompt, timeout=TIMEOUT)
        return answer.data.content

    async def listed(self):
        return [session.session_id for session in await self.client.list_sessions()]

    async def test_a_turn_is_answered_and_the_session_is_resumed_with_its_history(self):
        session = await self.client.create_session(**options(session_id=self.session_id))
        self.assertEqual(
            await self.turn(session, "hello"), 'You said "hello". I remember 0 earlier messages.'
        )
        self.assertIn(self.session_id, await self.listed())
        await session.disconnect()
        resumed = await self.client.resume_session(self.session_id, **options())
        self.assertEqual(
            await self.turn(resumed, "again"), 'You said "again". I remember 1 earlier messages.'
        )
        await resumed.disconnect()

    async def test_an_answer_streams_in_order(self):
        session = await self.client.create_session(
            **options(session_id=self.session_id, streaming=True)
        )
        parts = []
        session.on(
            lambda event: parts.append(event.data.delta_content)
            if event.type.value == "assistant.message_delta"
            else None
        )
        answer = await self.turn(session, "stream 5 20")
        self.assertGreaterEqual(len(parts), 2)
        self.assertEqual("".join(parts).split(), ["word1", "word2", "word3", "word4", "word5"])
        self.assertEqual(answer.strip(), "".join(parts).strip())
        await session.disconnect()

    async def test_a_client_tool_is_called(self):
        session = await self.client.create_session(
            **options(session_id=self.session_id, tools=[ADD])
        )
        self.assertTrue(
            (await self.turn(session, 'tool add {"a":2,"b":40}')).startswith("The tool said: 42")
        )
        await session.disconnect()

    async def test_a_deleted_session_is_gone(self):
        session = await self.client.create_session(**options(session_id=self.session_id))
        await self.turn(session, "not for long")
        await session.disconnect()
        await self.client.delete_session(self.session_id)
        self.assertNotIn(self.session_id, await self.listed())

    async def test_a_lost_client_comes_back_with_a_new_connection(self):
        session = await self.client.create_session(**options(session_id=self.session_id))
        await self.turn(session, "first")
        await self.client.stop()
        await self.client.start()
        resumed = await self.client.resume_session(self.session_id, **options())
        self.assertEqual(
            await self.turn(resumed, "second"), 'You said "second". I remember 1 earlier messages.'
        )
        await resumed.disconnect()


if __name__ == "__main__":
    unittest.main()
