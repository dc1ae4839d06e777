#!/usr/bin/env bash
# Opens a report in headless Chromium, in light and dark, 1280 and 390 pixels wide: fails on a console message, on a
# picture that is not drawn and on a page that is wider than its window. Screenshots stay in the folder given.
#
#   tools/check_report.sh runs/own/report/index.html [screenshots]
set -euo pipefail

page=$(realpath "${1:?give the index.html of a report}")
out=$(realpath -m "${2:-$(dirname "$page")/screenshots}")
chromium=$(command -v chromium || command -v chromium-browser || command -v google-chrome || true)
if [ -z "$chromium" ]; then
    echo "skipped: no Chromium on this machine (Debian: apt-get install chromium)"
    exit 0
fi
mkdir -p "$out"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# The page itself has no script; this copy gets one that says what it sees, in the title.
cp "$page" "$work/probe.html"
cat >> "$work/probe.html" <<'PROBE'
<script>
addEventListener("load", () => {
  const images = [...document.images];
  const broken = images.filter(image => !image.complete || image.naturalWidth === 0).length;
  const flat = [...document.querySelectorAll("figure > svg")].filter(svg => svg.getBoundingClientRect().height < 50).length;
  const wide = document.documentElement.scrollWidth - innerWidth;
  document.title = `images=${images.length} broken=${broken} flat=${flat} wide=${Math.max(wide, 0)}`;
});
</script>
PROBE

failed=0
for width in 1280 390; do
    flags=(--headless --no-sandbox --disable-gpu --hide-scrollbars --window-size="$width,900" --user-data-dir="$work/profile")
    "$chromium" "${flags[@]}" --enable-logging=stderr --dump-dom "file://$work/probe.html" \
        > "$work/dom" 2> "$work/log" || { cat "$work/log"; exit 1; }
    found=$(grep -o '<title>images=[^<]*' "$work/dom" | sed 's/<title>//')
    messages=$(grep -c 'CONSOLE' "$work/log" || true)
    echo "$width px: $found console=$messages"
    case "$found" in
        *"broken=0 flat=0 wide=0") ;;
        *) failed=1 ;;
    esac
    [ "$messages" -eq 0 ] || { grep 'CONSOLE' "$work/log"; failed=1; }
    for scheme in light dark; do
        [ "$scheme" = dark ] && setting=0 || setting=1
        "$chromium" "${flags[@]}" --window-size="$width,5000" --blink-settings=preferredColorScheme=$setting \
            --screenshot="$out/$scheme-$width.png" "file://$page" 2> /dev/null
    done
done
echo "screenshots: $out"
exit $failed
