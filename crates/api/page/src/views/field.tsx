// The labelled fields of forms.

import { useId } from "preact/hooks";
import type { Overview } from "../api";

export function Field(props: { label: string; value: string; example: string; required?: boolean; set: (value: string) => void }) {
  const id = useId();
  return (
    <div class="field">
      <label for={id}>
        {props.label}
        {props.required !== true && <span class="optional"> optional</span>}
      </label>
      <input
        id={id}
        type="text"
        value={props.value}
        placeholder={props.example}
        required={props.required === true}
        autocomplete="off"
        autocapitalize="off"
        spellcheck={false}
        onInput={(input) => props.set(input.currentTarget.value)}
      />
    </div>
  );
}

/** Which hub is meant, where there are several. */
export function HubField(props: { overview: Overview; value: string; set: (value: string) => void }) {
  const hubs = props.overview.services.filter((service) => service.kind === "hub").map((hub) => hub.name);
  return hubs.length > 1 ? <Field label="Hub" value={props.value} example={hubs.slice(0, 3).join(", ")} set={props.set} /> : null;
}
