// `ai` with the providers of OpenAI, of its imitators and of Anthropic: text, streams, and a tool in two steps whose
// messages are sent back afterwards, over every dialect.
import assert from "node:assert";
import { createAnthropic } from "@ai-sdk/anthropic";
import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { generateText, stepCountIs, streamText, tool } from "ai";
import { z } from "zod";

const server = { baseURL: `${process.argv[2]}/v1`, apiKey: "any" };
const name = "openai/gpt-test";
const models = [
  createOpenAI(server).chat(name),
  createOpenAI(server).responses(name),
  createOpenAICompatible({ name: "compatible", includeUsage: true, ...server })(name),
  createAnthropic(server)(name),
];
for (const model of models) {
  const topK = model.provider.startsWith("anthropic") ? 5 : undefined;
  const { text } = await generateText({ model, prompt: "Say hello", temperature: 0, topK, maxOutputTokens: 50 });
  assert.equal(text, "Say hello");

  let streamed = "";
  for await (const piece of streamText({ model, prompt: "Say hello" }).textStream) streamed += piece;
  assert.equal(streamed, "Say hello");

  const asked = [];
  const tools = {
    weather: tool({
      description: "Tells the weather of a city.",
      inputSchema: z.object({ city: z.string() }),
      execute: async ({ city }) => (asked.push(city), "18 degrees"),
    }),
  };
  const prompt = 'call weather {"city": "Oslo"}';
  for (const ask of [generateText, streamText]) {
    const errors = [];
    const result = await ask({ model, prompt, tools, stopWhen: stepCountIs(2), maxRetries: 0, onError: (e) => errors.push(e) });
    assert.equal((await result.steps).length, 2);
    assert.equal(await result.text, "done");
    assert.deepEqual(errors, []);
    const { messages } = await result.response;
    const again = [{ role: "user", content: prompt }, ...messages, { role: "user", content: "Say hello" }];
    assert.equal((await generateText({ model, messages: again, tools, maxRetries: 0 })).text, "Say hello");
  }
  assert.deepEqual(asked, ["Oslo", "Oslo"]);

  const cacheControl = { type: "ephemeral" };
  const providerOptions = { anthropic: { cacheControl }, openaiCompatible: { cache_control: cacheControl } };
  const marked = [{ role: "user", content: [{ type: "text", text: "Say hello", providerOptions }] }];
  assert.equal((await generateText({ model, messages: marked })).text, "Say hello");
}
