// Generates expected.txt, the output of Go for cases.txt, so that the tests need no Go.
//
//	apt-get install golang-1.19-go
//	cd crates/gotemplate/tests/corpus && /usr/lib/go-1.19/bin/go run generate.go
//
// A case is a line "=== NAME", perhaps a line "data: JSON", and the template up to the next case.
package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"text/template"
)

type Pair struct{ Key, Value string }

func (p Pair) Join(with string) string { return p.Key + with + p.Value }

func main() {
	text, err := os.ReadFile("cases.txt")
	if err != nil {
		panic(err)
	}
	functions := template.FuncMap{
		"texts": func(items ...string) []string { return items },
		"ints":  func(items ...int) []int { return items },
		"pair":  func(key, value string) Pair { return Pair{key, value} },
		"fail":  func(message string) (string, error) { return "", errors.New(message) },
	}
	var out bytes.Buffer
	for _, one := range strings.Split("\n"+string(text), "\n=== ")[1:] {
		name, body, _ := strings.Cut(one, "\n")
		var data interface{}
		if strings.HasPrefix(body, "data: ") {
			line, after, _ := strings.Cut(strings.TrimPrefix(body, "data: "), "\n")
			if err := json.Unmarshal([]byte(line), &data); err != nil {
				panic(name + ": " + err.Error())
			}
			body = after
		}
		body = strings.TrimSuffix(body, "\n")
		verdict, printed := "ok", bytes.Buffer{}
		parsed, err := template.New("case").Funcs(functions).Parse(body)
		if err != nil {
			verdict = "rejected"
		} else if err := parsed.Execute(&printed, data); err != nil {
			verdict = "failed"
			printed.Reset()
		}
		quoted := bytes.Buffer{}
		encoder := json.NewEncoder(&quoted)
		encoder.SetEscapeHTML(false)
		if err := encoder.Encode(printed.String()); err != nil {
			panic(err)
		}
		fmt.Fprintf(&out, "=== %s\n%s\n%s", name, verdict, quoted.String())
	}
	if err := os.WriteFile("expected.txt", out.Bytes(), 0o644); err != nil {
		panic(err)
	}
}
