// The page of a real hub, which `rtun/tests/page.rs` has started: PAGE is its address, with user and password; LEAVES the id of the
// process of host-2, which is ended here; FILE gets the file that the page makes for another host.

import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { test } from "node:test";
import { launch, open } from "./browser.mjs";

const url = new URL(process.env.PAGE);
const credentials = { username: url.username, password: url.password };
const address = url.origin + url.pathname;

/** Waits for a condition in the page. */
const when = (page, condition, ...values) => page.waitForFunction(condition, { polling: 100 }, ...values);

const shows = (page, text, within = "main") =>
  when(page, (text, within) => document.querySelector(within)?.innerText.includes(text), text, within);

test("a hub's own page", { timeout: 120_000 }, async () => {
  assert.equal((await fetch(address)).status, 401);
  const { browser, close } = await launch();
  try {
    const { page, complaints } = await open(browser, address, { credentials });
    await shows(page, "Live", ".side");
    await shows(page, "host-1", ".events");
    await when(page, () => document.querySelectorAll(".map .place").length === 2);
    await page.waitForSelector(".map .way");
    await page.waitForSelector(".chart canvas");
    const go = (at) => page.evaluate((at) => (location.hash = `#/${at}`), at);
    await go("hosts");
    await shows(page, "1–2 of 2");
    await shows(page, "host-2", "tbody");
    await go("namespaces");
    await shows(page, "default", "tbody");
    await go("routes");
    await shows(page, "192.168.123.2/32", "tbody");
    await shows(page, "hub.yaml:", "tbody");
    await shows(page, "s ago", "tbody");
    await shows(page, "host away", "tbody");
    await go("drops");
    await shows(page, "no_route", "tbody");
    await page.click(".note button");
    await shows(page, "172.16.0.9");
    await go("explain?source=192.168.123.1&destination=192.168.123.2");
    await shows(page, "Delivered to host-2");
    await shows(page, "hub.yaml:");
    await go("join");
    await (await page.waitForSelector('::-p-aria([name="Host name"][role="textbox"])')).type("host-9");
    await (await page.waitForSelector('::-p-aria([name="Its addresses"][role="textbox"])')).type("192.168.123.9/24");
    await page.keyboard.press("Enter");
    await shows(page, "tun:///host-9");
    await shows(page, "packets to 192.168.123.9 do not go to host-9");
    await shows(page, "- {dst: 192.168.123.9/32, gateway: \"host-9\"}");
    writeFileSync(process.env.FILE, await page.$eval(".copyable.block code", (code) => code.textContent));
    await go("events");
    process.kill(Number(process.env.LEAVES), "SIGTERM");
    await when(page, () => [...document.querySelectorAll(".events li")].some((line) => /left[\s\S]*host-2/.test(line.innerText)));
    await go("hosts");
    await shows(page, "1–1 of 1");
    assert.deepEqual(complaints, []);
  } finally {
    await close();
  }
});
