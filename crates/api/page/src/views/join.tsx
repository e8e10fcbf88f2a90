// Joining a host: its command line and its file.

import { useState } from "preact/hooks";
import { ask, type Overview } from "../api";
import { type Join, joining, type Listener, wrong } from "../join";
import { Copyable, Panel } from "../parts";
import { Field, HubField } from "./field";

export function JoinView({ overview }: { overview: Overview }) {
  const [typed, type] = useState({ host: "", net: "", namespace: "", service: "" });
  const [answer, set] = useState<{ join?: Join; error?: string } | null>(null);
  const field = (name: keyof typeof typed, label: string, example: string, required = false) => (
    <Field label={label} value={typed[name]} example={example} required={required} set={(value) => type({ ...typed, [name]: value })} />
  );
  const submit = async (): Promise<void> => {
    const nets = typed.net.split(/[\s,]+/).filter((one) => one !== "");
    const [host, service] = [typed.host.trim(), typed.service.trim()];
    const why = wrong(host, nets);
    if (why !== null) return set({ error: why });
    try {
      const { services } = await ask<{ services: { name: string; kind: string; listen?: Listener[] }[] }>("v1/status");
      const hub = services.find((one) => one.kind === "hub" && (service === "" || one.name === service));
      const join = joining(hub?.listen ?? [], location.hostname, host, nets, typed.namespace.trim());
      set(join === null ? { error: "There is no hub of that name here." } : { join });
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
          {field("net", "Its addresses", "192.168.123.3/24", true)}
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
