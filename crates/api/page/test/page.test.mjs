// The page in a real browser, in front of a hub that is made up: what people see, and what they can do without a mouse.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { after, before, describe, it } from "node:test";
import { createRequire } from "node:module";
import { launch, open } from "./browser.mjs";
import { Network, serve } from "./mock.mjs";

const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const views = ["overview", "hosts", "namespaces", "routes", "drops", "explain", "join", "events"];
const question = "explain?source=192.168.123.1&destination=192.168.200.7";

let browser;
let closeBrowser;

before(async () => {
  ({ browser, close: closeBrowser } = await launch());
});

after(() => closeBrowser?.());

/** Runs `use` with the page in front of `network`. Nothing may have been complained of in the end. */
async function visit(network, options, use) {
  const server = await serve(network);
  const visited = await open(browser, `http://127.0.0.1:${server.port}/${options.at ?? ""}`, options);
  try {
    await use({ ...visited, server, text: () => visited.page.$eval("main", (main) => main.innerText) });
    assert.deepEqual(
      visited.complaints.filter((text) => !(options.expect ?? /^$/).test(text)),
      [],
    );
  } finally {
    await visited.close();
    await server.stop();
  }
}

/** Waits for a condition in the page. */
const when = (page, condition, ...values) => page.waitForFunction(condition, { polling: 100 }, ...values);

const shows = (page, text, within = "body") =>
  when(page, (text, within) => document.querySelector(within)?.innerText.includes(text), text, within);

const go = async (page, at) => {
  await page.evaluate((at) => (location.hash = `#/${at}`), at);
  await when(page, (name) => document.querySelector('nav a[aria-current="page"]')?.getAttribute("href") === `#/${name}`, at.split("?")[0]);
};

const count = (page, selector) => page.$$eval(selector, (all) => all.length);

/** Lets the page ask once more, before its time. */
const again = async (page, network) => {
  const asked = network.asked.length;
  await until(async () => {
    await page.evaluate(() => document.dispatchEvent(new Event("visibilitychange")));
    return network.asked.indexOf("/v1/overview", asked) >= 0;
  });
};

async function until(condition) {
  for (const end = Date.now() + 40_000; Date.now() < end;) {
    if (await condition()) return;
    await new Promise((resolve) => setTimeout(resolve, 25));
  }
  assert.fail(`not within 40 s: ${condition}`);
}

// Most of the time goes by while the page waits for its next question.
describe("the page", { concurrency: 3 }, () => {
  it("the first view has problems with what to do, figures, the map, the last hour, drops and events", () =>
    visit(new Network(26), {}, async ({ page, text }) => {
      for (const selector of [".problems li", ".map .place", ".chart canvas", ".events li", ".map .way"])
        await page.waitForSelector(selector);
      await shows(page, "no_gateway_connected");
      const seen = await text();
      for (const part of ["source fails for 4 min", "Start redis, or correct the address", "26\n", "All connected hosts.", "osl-gw-6"]) {
        assert.ok(seen.includes(part), `${part} in ${seen}`);
      }
      assert.ok(seen.indexOf("source fails") < seen.indexOf("From hosts"), "problems come first");
      assert.equal(await count(page, ".map .place"), 26);
      assert.ok(await page.$eval(".chart", (chart) => chart.getAttribute("aria-label").includes("Mbit/s")));
    }));

  it("it is shown to those who know the password, and to nobody else", () =>
    visit(
      new Network(3, { user: "admin", password: "secret" }),
      { credentials: { username: "admin", password: "secret" } },
      async ({ page, server }) => {
        await shows(page, "Live");
        await page.waitForSelector(".events li");
        const answer = await fetch(`http://127.0.0.1:${server.port}/`);
        assert.equal(answer.status, 401);
      },
    ));

  it("what changes at the hub is shown without a touch", () => {
    const network = new Network(12);
    return visit(network, {}, async ({ page }) => {
      await page.waitForSelector(".map .place");
      await shows(page, "12", ".figures");
      network.hosts.push(network.host(400, "late-comer"));
      network.emit("host_joined", { host: "late-comer", text: "from 192.0.2.1:4000 (tls)" });
      await shows(page, "late-comer", ".events");
      await shows(page, "13", ".figures");
      await shows(page, "late-comer", ".map");
      network.leave("late-comer");
      await when(
        page,
        () =>
          !document.querySelector(".map").innerText?.includes("late-comer") &&
          !document.querySelector(".map svg").textContent.includes("late-comer"),
      );
      await shows(page, "12", ".figures");
      network.problems = [];
      await shows(page, "No problems");
    });
  });

  it("explain shows each step with the line of the table, and what is wrong with a question", () =>
    visit(new Network(4), { at: "#/explain", expect: /status of 400/ }, async ({ page, text }) => {
      await page.waitForSelector("form");
      const type = async (label, value) => {
        const field = await page.waitForSelector(`::-p-aria([name="${label}"][role="textbox"])`);
        await field.click({ clickCount: 3 });
        await field.type(value);
      };
      await type("Source address", "192.168.123.1");
      await type("Destination address", "192.168.200.7");
      await page.keyboard.press("Enter");
      await shows(page, "Delivered to lon-db-2");
      const seen = await text();
      for (const part of [
        "hub.yaml:21",
        "hub.yaml:24",
        "passed over: shorter prefix",
        "connected for 1 h 30 min",
        "100 Mbit/s to lon-db-2",
      ]) {
        assert.ok(seen.includes(part), `${part} in ${seen}`);
      }
      await type("Destination address", "172.16.0.1");
      await page.keyboard.press("Enter");
      await shows(page, "Dropped: no_route");
      await shows(page, "Add a route for the destination");
      assert.ok(page.url().includes("destination=172.16.0.1"), "the address of the page can be sent to others");
      await type("Source address", "nonsense");
      await page.keyboard.press("Enter");
      await shows(page, "nonsense: not an address");
    }));

  it("joining a host gives a command line, a file and the fingerprint, ready to copy", () =>
    visit(new Network(4), { at: "#/join", expect: /status of 400/ }, async ({ page, text }) => {
      await (await page.waitForSelector('::-p-aria([name="Host name"][role="textbox"])')).type("new-host");
      await (await page.waitForSelector('::-p-aria([name="Its addresses"][role="textbox"])')).type("10.9.8.7/24 fd00::7/64");
      await page.keyboard.press("Enter");
      await page.waitForSelector(".copyable");
      const seen = await text();
      for (const part of [
        "tun:///new-host?net=10.9.8.7/24,fd00::7/64",
        "router+tls://USER:PASSWORD@hub.example:8443?fingerprint=9f2c",
        'addr: "new-host"',
        "packets to 10.9.8.7 do not go to new-host",
        "add to main in routers",
        '- {dst: 10.9.8.7/32, gateway: "new-host"}',
      ]) {
        assert.ok(seen.includes(part), `${part} in ${seen}`);
      }
      await page.click(".copyable button");
      await shows(page, "Copied");
      await (await page.waitForSelector('::-p-aria([name="Its addresses"][role="textbox"])')).type(" nonsense");
      await page.keyboard.press("Enter");
      await shows(page, "nonsense` is no address");
    }));

  it("routes say where they are written and which are dead; drops come with help and samples", () =>
    visit(new Network(30), { at: "#/routes" }, async ({ page, text }) => {
      await shows(page, "hub.yaml:13");
      await shows(page, "red.txt:12");
      assert.match(await text(), /host away[\s\S]*9 s ago|never used/);
      await page.click(".check input");
      await when(page, () => [...document.querySelectorAll("tbody tr")].every((row) => row.querySelector(".dead")));
      assert.ok(page.url().includes("dead=true"));
      await go(page, "drops");
      await shows(page, "Add a route for its network");
      await page.click(".note button");
      await shows(page, "172.16.9.9");
    }));

  it("10,000 hosts: a page of them, searched and sorted by the hub, and the busiest on the map", () => {
    const network = new Network(10_000);
    return visit(network, {}, async ({ page }) => {
      await shows(page, "9,960 more hosts");
      assert.equal(await count(page, ".map .place"), 40);
      await go(page, "hosts");
      await shows(page, "1–50 of 10,000");
      assert.equal(await count(page, "tbody tr"), 50);
      await (await page.waitForSelector('::-p-aria([name="Next"][role="button"])')).click();
      await shows(page, "51–100 of 10,000");
      await page.type(".search", "gw-9996");
      await shows(page, "1–1 of 1");
      await shows(page, "vie-gw-9996", "tbody");
      await page.evaluate(() => (location.hash = "#/hosts"));
      await shows(page, "1–50 of 10,000");
      await (await page.waitForSelector('::-p-aria([name="Age"][role="button"])')).click();
      await page.waitForSelector('th[aria-sort="descending"]');
      const oldest = [...network.hosts].sort((a, b) => b.connected - a.connected)[0].host;
      await when(page, (name) => document.querySelector("tbody tr")?.innerText.includes(name), oldest);
      assert.ok((await page.metrics()).Nodes < 20_000);
    });
  });

  it("text of strangers stays text", () => {
    const network = new Network(8);
    const name = '<img/src=x/onerror=alert(1)>"><script>alert(2)</script>';
    const hostile = { ...network.host(0, name), peer: name, software: name, transport: "tls" };
    network.hosts.unshift(hostile);
    network.flows.unshift({
      ...network.flows[0],
      from: name,
      namespace: hostile.namespace,
      to: network.hosts[1].host,
      rate: { packets: 1, bytes: 2e7 },
    });
    network.problems.push({ level: "warning", what: name, where: name, remedy: name });
    network.reasons[0].help = name;
    network.emit("host_joined", { host: name, text: name });
    return visit(network, {}, async ({ page }) => {
      for (const view of ["overview", "hosts", "routes", "drops", "events"]) {
        await go(page, view);
        await shows(page, name, "main");
        if (view === "hosts") await page.click(".opener");
      }
      await page.evaluate((name) => (location.hash = `#/hosts?search=${encodeURIComponent(name)}`), name);
      await shows(page, "1–1 of 1");
      await page.evaluate(() => (location.hash = "#/javascript:alert(3)"));
      await shows(page, "Overview", "h1");
      assert.equal(await page.evaluate(() => document.querySelectorAll("#app script, #app img:not(.brand img), [onerror]").length), 0);
    });
  });

  it("everything can be reached with the keyboard", () => {
    const network = new Network(20);
    return visit(network, {}, async ({ page }) => {
      await page.waitForSelector(".map .place");
      const focused = () => page.evaluate(() => document.activeElement?.textContent ?? "");
      await page.keyboard.press("Tab");
      assert.match(await focused(), /Skip to the content/);
      await page.keyboard.press("Enter");
      assert.equal(await focused(), "Overview");
      await page.$eval(".map svg", (map) => map.focus());
      await page.keyboard.press("ArrowRight");
      const first = await page.$eval(".map-caption b", (name) => name.textContent);
      await page.keyboard.press("ArrowRight");
      await when(page, (first) => document.querySelector(".map-caption b").textContent !== first, first);
      await page.keyboard.press("Enter");
      await shows(page, "Hosts", "h1");
      assert.equal(await focused(), "Hosts");
      await shows(page, "of 1", ".pages");
      for (let left = 40; left > 0 && !(await page.evaluate(() => document.activeElement.matches(".opener"))); left -= 1)
        await page.keyboard.press("Tab");
      await page.keyboard.press("Enter");
      await shows(page, "Received from it");
      await again(page, network);
      assert.ok(await page.evaluate(() => document.activeElement.matches(".opener[aria-expanded=true]")), "an update takes no focus");
    });
  });

  it("no view fails axe's checks, in light and dark", () =>
    visit(new Network(26), {}, async ({ page }) => {
      await page.waitForSelector(".map .place");
      await page.evaluate(axe);
      const check = (rules) =>
        page.evaluate(async (rules) => {
          const { violations } = await window.axe.run(document, { runOnly: rules });
          return violations.flatMap((one) =>
            one.nodes.map((node) => `${one.id}: ${node.html.slice(0, 160)} ${node.any.map((any) => any.message).join()}`),
          );
        }, rules);
      const paint = async (colours) => {
        await page.emulateMediaFeatures([
          { name: "prefers-color-scheme", value: colours },
          { name: "prefers-reduced-motion", value: "reduce" },
        ]);
        const back = await page.$eval("body", (body) => getComputedStyle(body).backgroundColor.match(/\d+/g).slice(0, 3).map(Number));
        assert.ok(colours === "dark" ? Math.max(...back) < 40 : Math.min(...back) > 240, back.join());
      };
      for (const view of [...views, question]) {
        await paint("light");
        await go(page, view);
        await page.waitForSelector({ hosts: ".opener", join: "form", events: ".events", [question]: ".steps" }[view] ?? ".panel");
        if (view === "hosts") await page.click(".opener");
        if (view === "join") {
          await page.type(".field input", "h");
          await page.type(".field:nth-child(2) input", "10.0.0.1/24");
          await page.keyboard.press("Enter");
          await page.waitForSelector(".copyable");
        }
        assert.deepEqual(await check(["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"]), [], view);
        await paint("dark");
        assert.deepEqual(await check(["color-contrast"]), [], `${view}, dark`);
      }
    }));

  it("on a phone nothing is wider than the screen", () => {
    const network = new Network(60);
    network.hosts[0].host = "a-host-with-a-name-that-never-ends-".repeat(6);
    return visit(network, { width: 320, height: 740 }, async ({ page }) => {
      for (const view of [...views, question, "hosts?sort=name&order=asc"]) {
        await go(page, view);
        await page.waitForSelector(".panel");
        const [content, screen] = await page.evaluate(() => [document.documentElement.scrollWidth, window.innerWidth]);
        assert.ok(content <= screen, `${view}: ${content} on ${screen}`);
        assert.equal(screen, 320, view);
      }
    });
  });

  it("a hub that goes away is said, and the page goes on when it is back", () => {
    const network = new Network(5);
    return visit(
      network,
      { expect: /ERR_CONNECTION_REFUSED|ERR_EMPTY_RESPONSE|ERR_CONNECTION_RESET|ERR_INCOMPLETE_CHUNKED/ },
      async ({ page, server }) => {
        await shows(page, "Live");
        await page.waitForSelector(".map .place");
        await server.stop();
        await shows(page, "The hub does not answer");
        await shows(page, "Not reached");
        assert.equal(await count(page, ".map .place"), 5, "what was known stays");
        network.events = [];
        network.nextEvent = 1;
        network.pid += 1;
        network.hosts.pop();
        network.emit("service", { text: "started again" });
        const back = await serve(network, server.port);
        try {
          await shows(page, "Live");
          await shows(page, "started again", ".events");
          assert.equal(await count(page, ".notice"), 0);
        } finally {
          await back.stop();
        }
      },
    );
  });

  it("a page that nobody sees asks nothing", () => {
    const network = new Network(5);
    return visit(network, {}, async ({ page }) => {
      await page.waitForSelector(".events li");
      const hide = (hidden) =>
        page.evaluate((hidden) => {
          Object.defineProperty(document, "hidden", { configurable: true, get: () => hidden });
          document.dispatchEvent(new Event("visibilitychange"));
        }, hidden);
      await hide(true);
      await until(() => network.readers.size === 0);
      // What was under way when it was hidden comes to its end.
      await page.waitForNetworkIdle({ idleTime: 200 });
      const asked = network.asked.length;
      await new Promise((resolve) => setTimeout(resolve, 2600));
      assert.equal(network.asked.length, asked);
      await hide(false);
      await until(() => network.readers.size === 1 && network.asked.length > asked);
    });
  });

  it("a day of updates leaves nothing behind in the browser", () => {
    const network = new Network(40);
    return visit(network, {}, async ({ page }) => {
      await page.waitForSelector(".map .place");
      const day = async (rounds) => {
        for (let left = rounds; left > 0; left -= 1) {
          for (let event = 0; event < 20; event += 1) network.emit("log", { text: `line ${network.nextEvent}` });
          const at = left % network.hosts.length;
          network.hosts[at] = network.host(at, `visitor-${network.nextEvent}`);
          network.mix();
          if (left % 4 === 0) await go(page, views[(left / 4) % views.length]);
          await again(page, network);
        }
        await go(page, "events");
        await shows(page, `line ${network.nextEvent - 1}`, ".events");
        assert.equal(await count(page, ".events li"), 200);
        for (let left = 3; left > 0; left -= 1)
          await page.evaluate(() => new Promise((done) => setTimeout(() => done(globalThis.gc()), 50)));
        const { Nodes, JSEventListeners, JSHeapUsedSize } = await page.metrics();
        return { nodes: Nodes, listeners: JSEventListeners, heap: JSHeapUsedSize };
      };
      const early = await day(15);
      const late = await day(40);
      assert.ok(late.nodes < early.nodes * 1.2 + 200, `${early.nodes} nodes, then ${late.nodes}`);
      assert.ok(late.listeners < early.listeners * 1.2 + 50, `${early.listeners} listeners, then ${late.listeners}`);
      assert.ok(late.heap < early.heap + 2e6, `${early.heap} bytes, then ${late.heap}`);
    });
  });
});
