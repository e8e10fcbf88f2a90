// Chromium without a window, which reaches nothing but 127.0.0.1.

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import puppeteer from "puppeteer-core";

export async function launch() {
  const folder = mkdtempSync(join(tmpdir(), "rtun-page-"));
  const browser = await puppeteer.launch({
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    userDataDir: folder,
    env: { ...process.env, HOME: folder },
    args: [
      // The pages are our own, and namespaces for a sandbox are not there in all places where tests run.
      "--no-sandbox",
      "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
      "--disable-background-networking",
      "--disable-component-update",
      "--disable-default-apps",
      "--disable-domain-reliability",
      "--disable-sync",
      "--no-first-run",
      "--no-pings",
      "--disable-gpu",
      "--js-flags=--expose-gc",
    ],
  });
  return {
    browser,
    close: async () => {
      await browser.close();
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

/** A page at this address. What it complains of is collected; requests that leave 127.0.0.1 are refused and collected. */
export async function open(browser, url, { width = 1280, height = 860, dark = false, credentials, scale = 1 } = {}) {
  const context = await browser.createBrowserContext();
  const page = await context.newPage();
  const complaints = [];
  page.on("console", (message) => {
    if (["error", "warn"].includes(message.type())) complaints.push(message.text());
  });
  page.on("pageerror", (error) => complaints.push(String(error)));
  page.on("dialog", (dialog) => {
    complaints.push(`dialog: ${dialog.message()}`);
    void dialog.dismiss();
  });
  page.on("request", (request) => {
    if (!/^(data:|blob:|http:\/\/127\.0\.0\.1[:/])/.test(request.url())) complaints.push(`left the hub: ${request.url()}`);
  });
  await page.setViewport({ width, height, deviceScaleFactor: scale, isMobile: width < 600, hasTouch: width < 600 });
  await page.emulateMediaFeatures([
    { name: "prefers-color-scheme", value: dark ? "dark" : "light" },
    { name: "prefers-reduced-motion", value: "reduce" },
  ]);
  if (credentials !== undefined) await page.authenticate(credentials);
  // Generous: tests wait for conditions, and the machine may be busy.
  page.setDefaultTimeout(40_000);
  await page.goto(url);
  return { page, complaints, close: () => context.close() };
}
