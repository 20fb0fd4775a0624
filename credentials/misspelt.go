package credentials

import (
	"os"
	"slices"
	"strings"
)

// misspelt says which variables are set whose names are nearly those of missing ones:
// AZURE_TENANTID, AZURE_CLIENT_SECRTE. Their values are not looked at.
func misspelt(missing []string) string {
	var list []string
	for _, pair := range os.Environ() {
		name, value, _ := strings.Cut(pair, "=")
		if strings.TrimSpace(value) == "" || !strings.HasPrefix(strings.ToUpper(name), "AZURE") {
			continue
		}
		for _, want := range missing {
			if name != want && distance(letters(name), letters(want)) <= 2 {
				list = append(list, name+" is set, which may be meant for "+want)
			}
		}
	}
	slices.Sort(list)
	return strings.Join(list, "; ")
}

// letters is a name without what is easily left out.
func letters(name string) string { return strings.ReplaceAll(strings.ToUpper(name), "_", "") }

// distance is how many letters must be added, left out or replaced to make b of a
// (Levenshtein's).
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
