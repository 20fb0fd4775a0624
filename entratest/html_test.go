package entratest_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/entratoken/entra/entratest"
)

// hostilePages are pages that tokenizers read differently, with their tags.
var hostilePages = map[string][]string{
	"":                                nil,
	"a < b <1> < a>":                  nil,
	"<a":                              nil,
	"<a b=c":                          nil,
	`<a b="c>`:                        nil,
	"<":                               nil,
	"</":                              nil,
	"</>x</ a><b>":                    {"<b>"},
	"<Form/></FORM ignored>":          {"<form>", `</form ignored="">`},
	"<a b c = d e= f>":                {`<a b="" c="d" e="f">`},
	"<a B=1 b=2>":                     {`<a b="1">`},
	`<a b='"' c="'" d=">">`:           {`<a b="&#34;" c="&#39;" d="&gt;">`},
	`<a b="c"d='e'f=g/h/i>`:           {`<a b="c" d="e" f="g/h/i">`},
	"<a =b==c d=>":                    {`<a =b="=c" d="">`},
	`<a/b/c=/d"e>`:                    {`<a b="" c="/d&#34;e">`},
	"<a\r\nb\t=\fc>":                  {`<a b="c">`},
	`<a "b'c<d>`:                      {`<a "b'c<d="">`},
	"<a b=&lt;&amp=&copy;&copyc&#65>": {`<a b="&lt;&amp;amp=©&amp;copycA">`},
	"<a b=&notit;&not;&semi;&nope;&>": {`<a b="&amp;notit;¬;&amp;nope;&amp;">`},
	"<!--<a>--><b>":                   {"<b>"},
	"<a b=&#65a&#59;>":                {`<a b="Aa;">`},
	"</ <a><b>":                       {"<b>"},
	"<!--><b><!---><c>":               {"<b>", "<c>"},
	"<!-- --!><b><!-- -- ><c>--><d>":  {"<b>", "<d>"},
	"<!-- <a>":                        nil,
	`<!doctype html "<a>"><b>`:        {"<b>"},
	"<?xml <a?><b>":                   {"<b>"},
	"<![CDATA[<a>]]><b>":              {"<b>"},
	"<script><a></scripts></SCRIPT/><b></script>": {"<script>", "</script>", "<b>", "</script>"},
	"<script/><a></script":                        {"<script>"},
	"<title><a></title><textarea><b></textarea\n><style><c></style><iframe><d></iframe>": {
		"<title>", "</title>", "<textarea>", "</textarea>", "<style>", "</style>", "<iframe>", "</iframe>",
	},
}

// Tags are those of the HTML standard.
func TestTagsOfHTML(t *testing.T) {
	for page, want := range hostilePages {
		if got := entratest.TagTexts(page); !slices.Equal(got, want) {
			t.Errorf("%q: got %q, want %q", page, got, want)
		}
	}
}

// FuzzTags parses any page. The tags that it returns are read as the same tags again.
func FuzzTags(f *testing.F) {
	for page := range hostilePages {
		f.Add(page)
	}
	f.Fuzz(func(t *testing.T, page string) {
		var parts []string
		for _, tag := range entratest.TagTexts(page) {
			parts = append(parts, tag)
			if name, _, _ := strings.Cut(strings.TrimSuffix(tag[1:], ">"), " "); tag[1] != '/' {
				parts = append(parts, "</"+name+">") // so that a script contains no other tag
			}
		}
		if got := entratest.TagTexts(strings.Join(parts, "")); !slices.Equal(got, parts) {
			t.Errorf("got %q, want %q", got, parts)
		}
	})
}
