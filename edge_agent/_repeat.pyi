from edge_agent.driver import Driver
from gateway_kernel.audit import Finished
from gateway_kernel.judge import Judgement
from gateway_kernel.model import Instant, Operation, Parameter, Session

class Tally:
    sent: int
    completed: int

tally: Tally

class Course:
    judgement: Judgement

class Repeats:
    number: int
    def __init__(self, driver: Driver, session: Session) -> None: ...
    def learn(self, judgement: Judgement) -> Course | None: ...
    def operation(
        self, course: Course, number: int, text: str, parameters: tuple[Parameter, ...], size: int
    ) -> Operation: ...
    def close(self, course: Course, number: int, finished: Finished, now: Instant) -> None: ...
