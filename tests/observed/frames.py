# For gdb: every thread's frames as `thread TID` and `frame PC KIND NAME` lines, innermost first. Names may hold
# spaces. KIND is `physical`, or `virtual` for what gdb makes up from debug information (inlined functions and
# tail calls) and no unwinder sees.
import gdb

gdb.execute("set backtrace past-main on")
gdb.execute("set backtrace past-entry on")
for thread in sorted(gdb.selected_inferior().threads(), key=lambda thread: thread.ptid[1]):
    thread.switch()
    print("thread %d" % thread.ptid[1])
    frame, depth = gdb.newest_frame(), 0
    while frame is not None and depth < 256:
        made_up = frame.type() in (gdb.INLINE_FRAME, gdb.TAILCALL_FRAME)
        if frame.pc() == 0:
            # Nobody called the frame before: gdb shows that as a frame where a program keeps a 0 there (Go's do).
            break
        try:
            name = frame.name() or "?"
        except UnicodeDecodeError:
            name = "?"
        print("frame %#x %s %s" % (frame.pc(), "virtual" if made_up else "physical", name))
        try:
            frame = frame.older()
        except gdb.error as error:
            print("end %s" % error)
            break
        depth += 1
