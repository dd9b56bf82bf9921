// `ai` with `@ai-sdk/openai`: text, streams and a tool, over both of OpenAI's dialects.
import assert from "node:assert";
import { createOpenAI } from "@ai-sdk/openai";
import { generateText, stepCountIs, streamText, tool } from "ai";
import { z } from "zod";

const openai = createOpenAI({ baseURL: `${process.argv[2]}/v1`, apiKey: "any" });
for (const model of [openai.chat("openai/gpt-test"), openai.responses("openai/gpt-test")]) {
  const { text } = await generateText({ model, prompt: "Say hello" });
  assert.equal(text, "Say hello");

  let streamed = "";
  for await (const piece of streamText({ model, prompt: "Say hello" }).textStream) streamed += piece;
  assert.equal(streamed, "Say hello");

  const asked = [];
  await generateText({
    model,
    prompt: 'call weather {"city": "Oslo"}',
    stopWhen: stepCountIs(2),
    tools: {
      weather: tool({
        description: "Tells the weather of a city.",
        inputSchema: z.object({ city: z.string() }),
        execute: async ({ city }) => (asked.push(city), "18 degrees"),
      }),
    },
  });
  assert.deepEqual(asked, ["Oslo"]);
}
