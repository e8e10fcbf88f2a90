// Joining a host: its command line and its file.

import { useState } from "preact/hooks";
import { ask, type Join, type Overview } from "../api";
import { Copyable, Panel } from "../parts";
import { Field, HubField } from "./field";

/** The page of a hub on the own machine, or through a tunnel, tells nothing of how a host reaches the hub. */
const LOCAL = /^(localhost$|127\.|\[::1\]$)/;

export function JoinView({ overview }: { overview: Overview }) {
  const [typed, type] = useState({ host: "", addresses: "", namespace: "", service: "" });
  const [answer, set] = useState<{ join?: Join; error?: string } | null>(null);
  const field = (name: keyof typeof typed, label: string, example: string, required = false) => (
    <Field label={label} value={typed[name]} example={example} required={required} set={(value) => type({ ...typed, [name]: value })} />
  );
  const submit = async (): Promise<void> => {
    const hub = LOCAL.test(location.hostname) ? null : location.hostname;
    const addresses = typed.addresses.split(/[\s,]+/).filter((one) => one !== "");
    const [host, namespace, service] = [typed.host.trim(), typed.namespace.trim(), typed.service.trim()];
    try {
      set({ join: await ask<Join>("v1/join", { host, addresses: addresses.join(","), namespace, service, hub }) });
    } catch (error) {
      set({ error: error instanceof Error ? error.message : String(error) });
    }
  };
  return (
    <>
      <Panel title="The host">
        <form
          class="form"
          onSubmit={(event) => {
            event.preventDefault();
            void submit();
          }}
        >
          {field("host", "Host name", "host-3", true)}
          {field("addresses", "Its addresses", "192.168.123.3/24", true)}
          {field("namespace", "Namespace", "the default")}
          <HubField overview={overview} value={typed.service} set={(service) => type({ ...typed, service })} />
          <button type="submit" class="primary">
            Show how
          </button>
        </form>
      </Panel>
      <div aria-live="polite">
        {answer?.error !== undefined && (
          <p class="empty bad" role="alert">
            {answer.error}
          </p>
        )}
        {answer?.join !== undefined && <How join={answer.join} />}
        {answer === null && (
          <p class="empty">This changes nothing at the hub. It writes the command line and the file that the new host needs.</p>
        )}
      </div>
    </>
  );
}

function How({ join }: { join: Join }) {
  return (
    <>
      {join.notes.length > 0 && (
        <ul class="notes">
          {join.notes.map((note) => (
            <li key={note}>{note}</li>
          ))}
        </ul>
      )}
      {join.missing.map(({ list, name, line, because }) => (
        <Panel key={`${list} ${line} ${because}`} title={`At the hub: ${because}`} note={`${line === null ? "see" : "add to"} ${name} in ${list}`}>
          {line !== null && <Copyable label={`Line for ${list}`} text={line} />}
        </Panel>
      ))}
      <Panel title="On the host, as root">
        <Copyable label="Command line" text={join.command} />
      </Panel>
      <Panel title="Or as a file" note={<code>rtun -C host.yaml</code>}>
        <Copyable label="File" text={join.file} block />
      </Panel>
      {join.fingerprint !== null && (
        <Panel title="The hub's certificate" note="SHA-256; compare it with what the host sees">
          <Copyable label="Fingerprint" text={join.fingerprint} />
        </Panel>
      )}
    </>
  );
}
