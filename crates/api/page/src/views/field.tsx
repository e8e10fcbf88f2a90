// A labelled field of a form.

import { useId } from "preact/hooks";

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
