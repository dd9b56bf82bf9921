// The official `openai` client for JavaScript.
import assert from "node:assert";
import OpenAI from "openai";

const client = new OpenAI({ baseURL: `${process.argv[2]}/v1`, apiKey: "any", maxRetries: 0 });
const messages = [{ role: "user", content: "Say hello" }];
const model = "openai/gpt-test";

const whole = await client.chat.completions.create({ model, messages });
assert.equal(whole.choices[0].message.content, "Say hello");

let text = "";
for await (const chunk of await client.chat.completions.create({ model, messages, stream: true }))
  text += chunk.choices[0]?.delta?.content ?? "";
assert.equal(text, "Say hello");

const response = await client.responses.create({ model, input: "Say hello" });
assert.equal(response.output_text, "Say hello");
const next = await client.responses.create({ model, input: "Again", previous_response_id: response.id });
assert.equal(next.output_text, "Again");

await assert.rejects(client.chat.completions.create({ model: "nowhere/at-all", messages }), OpenAI.NotFoundError);
