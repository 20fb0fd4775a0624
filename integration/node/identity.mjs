// Drives @azure/identity. The commands are:
//
//   {"new": NAME, "class": CLASS, "with": [...]}     creates a credential
//   {"on": NAME, "call": "getToken", "with": [...]}  calls its method
//   {"on": NAME, "call": "prompt", "with": [...]}    starts getToken; the result is the device code to show
//   {"on": NAME, "call": "token"}                    the result of that getToken
import * as identity from "@azure/identity";
import { serve } from "./commands.mjs";

const credentials = new Map();
const prompts = new Map(); // functions that receive the device code, by credential
const tokens = new Map();

await serve(async ({ new: created, class: type, on, call, with: values }) => {
  if (created) {
    const options = values.at(-1);
    if (type === "DeviceCodeCredential") {
      options.userPromptCallback = (code) => prompts.get(created)(code);
    }
    credentials.set(created, new identity[type](...values));
    return null;
  }
  switch (call) {
    case "prompt":
      return await new Promise((resolve, reject) => {
        prompts.set(on, resolve);
        const token = credentials.get(on).getToken(...values);
        token.catch(reject);
        tokens.set(on, token);
      });
    case "token":
      return await tokens.get(on);
  }
  return await credentials.get(on)[call](...values);
});
