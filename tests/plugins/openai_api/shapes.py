"""Requests in the shape in which widely used clients send them, in our own words."""

from __future__ import annotations

from typing import Any

PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="
CACHED = {"type": "ephemeral"}
LONG_NAME = "mcp__playwright__" + "browser_take_screenshot_" * 4


def coding_agent_over_messages(**fields: Any) -> dict[str, Any]:
    """The later turns of a coding agent that speaks Messages (Claude Code): marks, betas, thinking, tools with pictures."""
    return {
        "model": "scripted/m",
        "max_tokens": 32000,
        "system": [
            {"type": "text", "text": "x-billing: agent"},
            {"type": "text", "text": "You edit code.", "cache_control": {**CACHED, "ttl": "1h", "scope": "global"}},
        ],
        "metadata": {"user_id": "u" * 256},
        "thinking": {"type": "adaptive", "display": "omitted"},
        "output_config": {"effort": "high"},
        "context_management": {"edits": [{"type": "clear_thinking", "keep": "all"}]},
        "diagnostics": {"previous_message_id": "msg_1"},
        "speed": "standard",
        "inference_geo": "eu",
        "top_k": 5,
        "tools": [
            {
                "name": LONG_NAME,
                "description": "Takes a picture of the page.",
                "input_schema": {"type": "object", "properties": {}},
                "defer_loading": True,
                "input_examples": [{}],
                "allowed_callers": ["direct"],
                "eager_input_streaming": True,
                "cache_control": CACHED,
            },
            {"type": "web_search_20250305", "name": "web_search", "max_uses": 8},
        ],
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "Look at it.", "cache_control": CACHED}]},
            {
                "role": "assistant",
                "content": [
                    {"type": "thinking", "thinking": "Hm."},
                    {"type": "thinking", "thinking": "Hm.", "signature": ""},
                    {"type": "text", "text": "Let me see."},
                    {"type": "tool_use", "id": "c1", "name": LONG_NAME, "caller": {"type": "direct"}},
                    {"type": "tool_use", "id": "c2", "name": LONG_NAME, "input": {}},
                ],
            },
            {
                "role": "user",
                "content": [
                    {
                        "type": "tool_result",
                        "tool_use_id": "c1",
                        "content": [
                            {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PIXEL}}
                        ],
                    },
                    {"type": "tool_result", "tool_use_id": "c2", "content": None, "cache_control": CACHED},
                ],
            },
            {"role": "system", "content": "The user opened a file."},
        ],
        **fields,
    }


SHELL: dict[str, Any] = {
    "type": "function",
    "name": "shell",
    "description": "Runs a command.",
    "strict": False,
    "parameters": {"type": "object", "properties": {"command": {"type": "string"}}},
}
PATCH: dict[str, Any] = {
    "type": "custom",
    "name": "apply_patch",
    "description": "Edits files.",
    "format": {"type": "grammar", "syntax": "lark", "definition": "start: /.+/s"},
}


def coding_agent_over_responses(**fields: Any) -> dict[str, Any]:
    """The later turns of a coding agent that speaks Responses (Codex): a custom tool, hosted tools, notes of its own."""
    return {
        "model": "scripted/m",
        "instructions": "You edit code.",
        "store": False,
        "include": ["reasoning.encrypted_content", "web_search_call.results"],
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "reasoning": {"effort": "medium", "summary": "auto", "context": "all"},
        "text": {"verbosity": "low"},
        "service_tier": "priority",
        "prompt_cache_key": "k",
        "client_metadata": {"session": "1"},
        "tools": [SHELL, PATCH, {"type": "web_search", "external_web_access": False}, {"type": "local_shell"}],
        "input": [
            {"type": "message", "role": "developer", "content": [{"type": "input_text", "text": "Be careful."}]},
            {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Mend it."}]},
            {"type": "reasoning", "summary": [], "content": None, "encrypted_content": None},
            {
                "type": "custom_tool_call",
                "call_id": "c1",
                "name": "apply_patch",
                "input": "*** Begin",
                "status": "completed",
            },
            {"type": "custom_tool_call_output", "call_id": "c1", "output": "Done."},
            {"type": "function_call", "call_id": "c2", "name": "shell", "arguments": '{"command":"ls"}'},
            {
                "type": "function_call_output",
                "call_id": "c2",
                "output": [{"type": "input_image", "image_url": f"data:image/png;base64,{PIXEL}"}],
            },
            {"type": "web_search_call", "id": "ws_1", "status": "completed"},
        ],
        **fields,
    }


def editor_over_chat_completions(**fields: Any) -> dict[str, Any]:
    """The later turns of editors that speak Chat Completions (Cline, OpenCode, aider, clients of LiteLLM and OpenRouter)."""
    call = {"id": "c1", "type": "function", "function": {"name": LONG_NAME, "arguments": {"path": "a"}}}
    return {
        "model": "scripted/m",
        "stream_options": {"include_usage": True},
        "stop": "",
        "user": "u" * 300,
        "tools": [
            {
                "type": "function",
                "function": {"name": LONG_NAME, "parameters": {"type": "object"}},
                "cache_control": CACHED,
            }
        ],
        "messages": [
            {"role": "system", "content": "You edit code.", "cache_control": CACHED},
            {"role": "user", "id": "m1", "content": [{"type": "text", "text": "Mend it.", "cache_control": CACHED}]},
            {
                "role": "assistant",
                "id": "m2",
                "content": None,
                "reasoning": "Hm.",
                "reasoning_details": [{"type": "reasoning.text", "text": "Hm."}],
                "reasoning_content": "Hm.",
                "thinking_blocks": [{"type": "thinking", "thinking": "Hm."}],
                "provider_specific_fields": {"x": 1},
                "tool_calls": [call, {**call, "id": "c2", "function": {"name": LONG_NAME, "arguments": None}}],
            },
            {"role": "tool", "tool_call_id": "c1", "content": None},
            {
                "role": "tool",
                "tool_call_id": "c2",
                "content": [
                    {"type": "text", "text": "seen"},
                    {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}},
                ],
            },
        ],
        **fields,
    }
