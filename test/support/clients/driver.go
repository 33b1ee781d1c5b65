// Does what lines on standard input say with the Go client, and prints an answer to each.
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"example.com/driver/sluice"
)

type progress struct {
	Stage      string `json:"stage"`
	EntityType string `json:"entityType"`
	Processed  int    `json:"processed"`
	Message    string `json:"message,omitempty"`
}

func main() {
	maxUnconfirmed, _ := strconv.Atoi(os.Getenv("MAX_UNCONFIRMED"))
	maxReceived, _ := strconv.Atoi(os.Getenv("MAX_RECEIVED"))
	var heartbeat func() any
	if activeJobs := os.Getenv("ACTIVE_JOBS"); activeJobs != "" {
		value, _ := strconv.ParseFloat(activeJobs, 64)
		heartbeat = func() any {
			return map[string]any{"activeJobs": value, "totalProcessed": 2, "systemStatus": "crawling"}
		}
	}
	var client *sluice.Client
	publish := func(number int, text string) error {
		return client.Publish("job_progress", "producer-"+os.Getenv("PRODUCER"), progress{"fetching", "issue", number, text})
	}
	created := make(chan struct{})
	onRejected := func(err *sluice.Error) {
		<-created
		switch os.Getenv("ON_REJECTED") {
		case "publish":
			_ = publish(1000, "")
		case "close":
			client.Close(time.Second / 5)
		}
		print(map[string]any{"rejected": err.Code})
	}
	client = sluice.New("unix", os.Getenv("SOCKET_PATH"), sluice.Options{
		CrawlerID:      os.Getenv("CRAWLER_ID"),
		Token:          os.Getenv("TOKEN"),
		Heartbeat:      heartbeat,
		OnRejected:     onRejected,
		MaxUnconfirmed: maxUnconfirmed,
		MaxReceived:    maxReceived,
	})
	close(created)
	number := func(text string) int {
		value, _ := strconv.Atoi(text)
		return value
	}
	seconds := func(text string) time.Duration {
		value, _ := strconv.ParseFloat(text, 64)
		return time.Duration(value * float64(time.Second))
	}
	commands := bufio.NewScanner(os.Stdin)
	for commands.Scan() {
		words := strings.Fields(commands.Text())
		var err error
		var answer any = "published"
		switch words[0] {
		case "publish":
			for at := number(words[1]); at < number(words[2]) && err == nil; at++ {
				err = publish(at, "")
			}
		case "large":
			err = publish(number(words[1]), strings.Repeat("ä", number(words[2])))
		case "invalid":
			err = publish(-1, "")
		case "flush":
			answer, err = "flushed", client.Flush(seconds(words[1]))
		case "next":
			answer = (<-client.Messages).Type
		case "drain":
			for range client.Messages {
			}
			answer, err = "CONNECTION_CLOSED", client.Err()
		case "statistics":
			statistics := client.Statistics()
			answer = map[string]any{
				"rejected": statistics.Rejected, "resent": statistics.Resent, "connections": statistics.Connections,
			}
		default:
			answer = client.Close(seconds(append(words, "30")[1]))
		}
		var rejected *sluice.Error
		switch {
		case errors.As(err, &rejected):
			answer = rejected.Code
		case errors.Is(err, sluice.ErrTimeout):
			answer = "TimeoutError"
		case err != nil:
			answer = "ValueError"
		}
		print(map[string]any{"answer": answer})
	}
}

func print(value map[string]any) {
	line, _ := json.Marshal(value)
	fmt.Println(string(line))
}
