# What was promised and whether it held. Sourced by scripts/demo.
# shellcheck shell=bash

act_number=0
act_name=
promises_kept=0
promises_broken=()
promises_told=() # act, kept or broken, the promise, why: four entries each

act() {
    act_number=$((act_number + 1))
    act_name=$1
    printf '\nAct %d: %s\n' "$act_number" "$1"
}

# tell TEXT: a paragraph of the story.
tell() { fold -s -w 92 <<<"$1" | sed -e 's/^/  /' -e 's/ *$//'; }

# What a program printed, set apart from the story.
indent() { sed 's/^/    /'; }

# promise SENTENCE [WHY]: kept when there is no WHY it was not.
promise() {
    local outcome=kept
    if [[ -z ${2:-} ]]; then
        promises_kept=$((promises_kept + 1))
        printf '  [kept]   %s\n' "$1"
    else
        outcome=broken
        promises_broken+=("Act $act_number, $1: $2")
        printf '  [BROKEN] %s\n           %s\n' "$1" "$2"
    fi
    promises_told+=("$act_name" "$outcome" "$1" "${2:-}")
}

# promises_to_json FILE
promises_to_json() {
    python3 - "$1" "${promises_told[@]}" <<'END'
import json, os, sys
path, told = sys.argv[1], sys.argv[2:]
rows = [dict(act=a, promise=p, kept=o == "kept", why=w or None)
        for a, o, p, w in zip(*[iter(told)] * 4)]
with open(path + ".new", "w") as out:
    json.dump({"kept": all(r["kept"] for r in rows), "promises": rows}, out, indent=2)
    out.write("\n")
os.replace(path + ".new", path)
END
}

# The last word; its status is the demo's.
promises_summary() {
    local broken
    if [[ ${#promises_broken[@]} -eq 0 && $promises_kept -gt 0 ]]; then
        printf '\nAll %d promises were kept.\n' "$promises_kept"
        return 0
    fi
    printf '\n%d promises were kept, %d BROKEN:\n' "$promises_kept" "${#promises_broken[@]}"
    for broken in "${promises_broken[@]}"; do printf '  %s\n' "$broken"; done
    return 1
}
