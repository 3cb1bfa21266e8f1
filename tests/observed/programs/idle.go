// A Go program at rest: goroutines that wait for a mutex, a channel and a timer, and threads of the runtime.
package main

import (
	"fmt"
	"os"
	"runtime"
	"sync"
	"time"
)

//go:noinline
func blockedInRead(pipe *os.File) {
	runtime.LockOSThread()
	var buffer [1]byte
	pipe.Read(buffer[:])
}

func main() {
	var lock sync.Mutex
	lock.Lock()
	for n := 0; n < 3; n++ {
		go func() { lock.Lock() }()
	}
	go func() { <-make(chan int) }()
	go func() { time.Sleep(time.Hour) }()
	// A descriptor that is not polled keeps its thread in the system call.
	fmt.Println("ready")
	blockedInRead(os.NewFile(0, "stdin"))
	os.Exit(0)
}
