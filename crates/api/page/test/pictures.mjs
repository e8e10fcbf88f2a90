// Takes pictures of every view: `node test/pictures.mjs FOLDER [URL]`, of a made-up network unless a hub is named.

import { join } from "node:path";
import { launch, open } from "./browser.mjs";
import { Network, serve } from "./mock.mjs";

const [folder, given] = process.argv.slice(2);
const network = new Network(64);
const server = given === undefined ? await serve(network) : null;
const base = given ?? `http://127.0.0.1:${server.port}/`;
const { browser, close } = await launch();
const only = process.env.ONLY;
const shots = [
  ["overview", "#/", 1280, 1000, true],
  ["page", "#/", 1280, 1262, true],
  ["overview-light", "#/", 1280, 1000, false],
  ["hosts", "#/hosts", 1280, 860, true],
  ["namespaces", "#/namespaces", 1280, 500, false],
  ["routes", "#/routes", 1280, 860, false],
  ["drops", "#/drops", 1280, 700, true],
  ["explain", "#/explain?source=192.168.123.1&destination=192.168.200.7", 1280, 760, false],
  ["join", "#/join", 1280, 860, true],
  ["events", "#/events", 1280, 500, false],
  ["phone", "#/", 390, 2400, true],
  ["phone-hosts", "#/hosts", 390, 900, false],
].filter(([name]) => only === undefined || only.split(",").includes(name));
for (const [name, hash, width, height, dark] of shots) {
  const { page, complaints, close } = await open(browser, base + hash, { width, height, dark });
  await page.waitForSelector(".panel");
  if (name === "join") {
    await page.type('input[placeholder="host-3"]', "osl-cam-9");
    await page.type('input[placeholder="192.168.123.3/24"]', "192.168.123.9/24");
    await page.click(".primary");
    await page.waitForSelector(".copyable");
  }
  await page.waitForNetworkIdle({ idleTime: 300, concurrency: 1 });
  await page.screenshot({ path: join(folder, `${name}.png`) });
  if (complaints.length > 0) console.log(name, complaints);
  await close();
}
await close();
await server?.stop();
